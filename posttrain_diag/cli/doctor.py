"""The checks of `diag doctor`: what works on this machine."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from posttrain_diag.wording.numbers import memory

PACKAGES: tuple[tuple[str, str, bool], ...] = (
    ("torch", "hf", True),
    ("transformers", "hf", True),
    ("safetensors", "hf", True),
    ("peft", "hf", False),
    ("trl", "train", False),
    ("httpx", "openai", False),
    ("ray", "ray", False),
)
"""The packages looked for: (package, extra that brings it, whether `diag analyze` needs it)."""


@dataclass(frozen=True)
class InstallCheck:
    """One fact about the installation."""

    name: str
    state: Literal["ok", "missing", "note"]
    detail: str
    required: bool = False


def examine() -> list[InstallCheck]:
    """Make all checks, in the order in which they are shown."""
    return [_python(), *_packages(), _vllm(), *_torch(), _memory(), _disk(), _zoo()]


def _python() -> InstallCheck:
    return InstallCheck("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> list[InstallCheck]:
    out: list[InstallCheck] = []
    for package, extra, required in PACKAGES:
        try:
            out.append(InstallCheck(package, "ok", metadata.version(package), required))
        except metadata.PackageNotFoundError:
            detail = f"pip install 'posttrain-diag[{extra}]'"
            out.append(InstallCheck(package, "missing" if required else "note", f"not installed: {detail}", required))
    return out


def _vllm() -> InstallCheck:
    from posttrain_diag.engines.vllm.process import find_python
    from posttrain_diag.errors import UsageError

    try:
        return InstallCheck("vllm", "ok", f"engine vllm runs on {find_python(None)}")
    except UsageError as error:
        return InstallCheck("vllm", "note", str(error))


def _torch() -> list[InstallCheck]:
    try:
        import torch
    except ImportError:
        return []
    out = [InstallCheck("threads", "ok", f"{torch.get_num_threads()} of {os.cpu_count()} cores")]
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        out.append(InstallCheck("gpu", "ok", f"{torch.cuda.device_count()} x {', '.join(sorted(names))}"))
    else:
        out.append(InstallCheck("gpu", "note", "none; models run on the CPU"))
    return out


def _memory() -> InstallCheck:
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return InstallCheck("memory", "ok", f"{memory(pages)} free")


def _disk() -> InstallCheck:
    free = shutil.disk_usage(".").free
    return InstallCheck("disk", "ok" if free > 2**30 else "note", f"{memory(free)} free here")


def _zoo() -> InstallCheck:
    from posttrain_diag.zoo import list_models

    there = [model.name for model in list_models() if model.path is not None]
    state: Literal["ok", "missing"] = "ok" if there else "missing"
    return InstallCheck("zoo", state, f"models at hand: {', '.join(there) or 'none; reinstall the package'}")

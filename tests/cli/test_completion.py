"""The shells' questions, as bash, zsh and fish ask them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from posttrain_diag.cli import completion
from posttrain_diag.export.rows import SETS
from posttrain_diag.export.write import TARGETS
from posttrain_diag.stages.catalogue import STAGES


def ask(*words: str, shell: str = "bash") -> list[str]:
    """Completions of the last word; bash is asked as it splits words at colons."""
    environment = {**os.environ, "_DIAG_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        environment |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    else:
        environment |= {"_TYPER_COMPLETE_ARGS": " ".join(words), "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = (
        "import sys; sys.argv = ['diag']\n"
        "from posttrain_diag.cli.app import main\n"
        "try:\n    main()\nfinally:\n    assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_bash_completes_a_model_behind_its_colon() -> None:
    assert ask("diag", "analyze", "zoo", ":", "fr") == ["frontier"]
    assert "base" in ask("diag", "analyze", "zoo", ":")
    assert "zoo:base" in ask("diag", "analyze", "z")
    assert ask("diag", "analyze", "./dir") == [""]  # then bash completes files


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("diag", "vi"), ["view"]),
        (("diag", "analyze", "zoo", ":", "base", "--tasks", "builtin", ":", "zoo/sums-F"), ["zoo/sums-F"]),
        (("diag", "train", "run", "--stage", "distill"), ["distill-offline", "distill-onpolicy"]),
        (("diag", "analyze", "m", "--effort", ""), ["quick", "standard", "thorough"]),
        (("diag", "analyze", "m", "--engine", "v"), ["vllm"]),
    ],
)
def test_bash(words: tuple[str, ...], found: list[str]) -> None:
    assert ask(*words) == found


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_keep_the_colon(shell: str) -> None:
    assert "zoo:frontier" in "\n".join(ask("diag", "analyze", "zoo:fr", shell=shell)).replace("\\", "")


def test_the_lists_are_those_of_the_code() -> None:
    assert completion.stages("") == list(STAGES)
    from posttrain_diag.stages.policy.sharding import launch_config

    assert all(launch_config(name) for name in completion.LAUNCH)
    assert completion.efforts("") == ["quick", "standard", "thorough"]
    assert set(completion.EXPORTS) == set(TARGETS)
    assert set(completion.SETS) == set(SETS.values())

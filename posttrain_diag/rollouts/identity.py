"""What makes a draw the same draw: its seed, the law it was drawn under, and the prompt it answers.

A draw is known by (model_sha, prompt_sha, sampling_sha, sample_idx); more draws never change earlier ones.
"""

from __future__ import annotations

import hashlib
import json

from posttrain_diag.engines.contract import Engine, Prompt, Tilt
from posttrain_diag.types import SamplingParams


def sampling_sha(params: SamplingParams) -> str:
    """Hash of everything that fixes the law of a draw."""
    return hashlib.sha256(json.dumps(params.identity(), sort_keys=True).encode()).hexdigest()[:16]


def draw_seed(seed: int, prompt_sha: str, sample_idx: int) -> int:
    """The 63-bit seed of one draw: more draws never change earlier ones."""
    digest = hashlib.blake2b(f"{seed}|{prompt_sha}|{sample_idx}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def prompt_sha(engine: Engine, problem_id: str, arm: str, prompt: Prompt, tilt: Tilt | None = None) -> str:
    """Hash of what the model was conditioned on, as this engine reads it, and of what it was drawn for.

    Args:
        engine: renders the prompt with its tokenizer and templates.
        problem_id: id of the problem that is answered.
        arm: name of the variation of the prompt, "main" for the problem's own.
        prompt: what the model is conditioned on, before tokenization.
        tilt: the proposal that is drawn from; None: the policy itself.
    """
    info = engine.info
    if "tokens" in info.lacks:  # then the text stands for the ids, with what will be made of it
        ids = "text " + json.dumps([prompt.text, prompt.messages, info.chat_template_sha], default=dict)
    else:
        ids = ",".join(map(str, engine.prompt_ids(prompt)))
    if info.undeclared_stops:  # such draws ran on before they ended there
        ids += "\0ends " + json.dumps(info.undeclared_stops)
    if tilt is not None:
        ids += f"\0tilt {tilt.lean!r} " + ",".join(map(str, tilt.token_ids))
    text = f"{problem_id}\0{arm}\0{ids}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]

"""How many sequences fit into one forward and backward pass: the micro-batch where the user names none.

    bytes = tokens x (vocabulary x LOGITS + layers x (HIDDEN x hidden + INNER x inner) x ELEMENT)      of one sequence
    room  = free memory - gradients, Adam's moments, half-precision copies - teachers and references - vLLM's share

Everything is counted for the longest sequence that may come, so that no step runs out after hours of shorter ones. What
was chosen is kept with the stage: a restart on a fuller device goes on to the same weights.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from posttrain_diag.engines.hf.memory import free_bytes, usable_bytes
from posttrain_diag.engines.model.files import find_model
from posttrain_diag.rollouts.token_cap import longest_prompt
from posttrain_diag.stages.catalogue import stage_record
from posttrain_diag.stages.trainers.trl import checkpointed, computes_in_bf16
from posttrain_diag.store import write_atomic
from posttrain_diag.tasks.problems.references import reference_completions
from posttrain_diag.wording.numbers import memory, token_count

if TYPE_CHECKING:
    import torch

    from posttrain_diag.settings.stage import StageConfig
    from posttrain_diag.stages.session.session import Session

FILE = "micro_batch.json"
LOGITS = 36
"""Bytes per token and word of the vocabulary, in float32: logits, log-probabilities, their gradients, and what TRL
makes of them for its metrics. This and the two below were measured as peak memory of SFT and GRPO steps on a CPU: 36,
and 45 kB per token and layer of 512 hidden and 1408 inner values; in bfloat16 less."""
HIDDEN, INNER = 12, 4
"""Values kept for the backward pass per token and layer, of the width of the residual stream and of the MLP."""
ELEMENT = 4
"""Bytes of one such value in float32; in bfloat16 only the norms take as many, and this counts too much."""
OPTIMIZER = 12
"""Bytes per trained weight that come with the first step: the gradient and Adam's two moments."""
USABLE = 0.8
"""Share of the free room on a GPU that is planned with; the rest is left to fragments and the kernels' own use."""


def bytes_per_token(model_config: Any, vocab_size: int, *, checkpointing: bool, laws: int = 1) -> float:
    """Bytes that one token of a sequence takes from the forward pass to the end of the backward pass.

    Args:
        model_config: transformers config of the text model.
        vocab_size: words of the vocabulary.
        checkpointing: activations are computed again in the backward pass, all but one layer's at a time.
        laws: next-token laws that are held at once: 2 where a teacher's is compared.
    """
    hidden = int(getattr(model_config, "hidden_size", 0) or 1024)
    inner = int(getattr(model_config, "intermediate_size", 0) or 4 * hidden)
    if active := getattr(model_config, "num_experts_per_tok", 0):
        inner = active * int(getattr(model_config, "moe_intermediate_size", 0) or inner)
    layers = int(getattr(model_config, "num_hidden_layers", 0) or 1)
    of_layer = (HIDDEN * hidden + INNER * inner) * ELEMENT
    kept = layers * hidden * ELEMENT + of_layer if checkpointing else layers * of_layer
    return float(vocab_size * LOGITS * laws + kept)


def largest_divisor(n: int, most: float, *, even: bool = False) -> int:
    """The largest divisor of `n` that is at most `most`; 1, or 2 of an even number, where none is."""
    step = 2 if even and n % 2 == 0 else 1
    return max((d for d in range(step, n + 1, step) if n % d == 0 and d <= most), default=step)


def settle_micro_batch(stage: str, session: Session) -> StageConfig:
    """The settings with a micro-batch that fits into memory; the user is told where it is not the whole batch.

    All processes call it; the first one's memory decides.
    """
    config, path = session.config, session.folder / FILE
    if config.micro_batch is not None or not stage_record(stage).trains:
        return config
    own = config.batch_size // session.processes.num_processes
    if session.is_main and not path.exists():
        tokens = longest_sequence(session)
        needed = token_bytes(stage, session) * tokens * rows_beside(stage, session)
        room = training_room(stage, session)
        micro = largest_divisor(own, room / needed, even=stage.endswith("preference"))
        write_atomic(path, json.dumps({"micro_batch": micro, "tokens": tokens, "bytes": needed, "room": room}))
    session.processes.wait_for_everyone()
    found = json.loads(path.read_text())
    micro = int(found["micro_batch"])
    if micro < own:
        session.say(
            f"{stage}: micro-batches of {micro}: {own} sequences of up to {token_count(found['tokens'])} tokens would "
            f"take about {memory(own * found['bytes'])} in one pass, and there is room for {memory(found['room'])} "
            "(--set micro_batch=N says otherwise)"
        )
    return config.model_copy(update={"micro_batch": micro})


def longest_sequence(session: Session) -> int:
    """Tokens of the longest prompt with the longest response that may be trained on."""
    engine, problems = session.policy.engine, [*session.inputs.train, *session.inputs.replayed]
    texts = {text for p in problems for text in reference_completions(p)}
    texts |= {text for p in problems for pair in p.pairs for text in (pair.chosen, pair.rejected)}
    response = max((len(engine.response_ids(text)) + 1 for text in texts), default=0)
    longest = longest_prompt(engine, problems) + max(response, session.params.max_new_tokens)
    return min(longest, engine.info.context_length or longest)


def token_bytes(stage: str, session: Session) -> float:
    """Bytes that one token of a sequence takes in this stage."""
    policy, config = session.policy, session.config
    return bytes_per_token(
        policy.text_config,
        policy.engine.info.vocab_size,
        checkpointing=checkpointed(config, policy.device, policy.n_parameters),
        laws=2 if _compared(stage, config) else 1,
    )


def rows_beside(stage: str, session: Session) -> float:
    """Sequences in a pass for each one of the micro-batch: replayed and taught rows join the loss of some trainers."""
    if stage_record(stage).rate not in ("rl", "preference", "teacher"):
        return 1.0  # they are in the batch
    return 1 / (1 - session.replay_share) + (stage == "interleaved")


def training_room(stage: str, session: Session) -> float:
    """Bytes that sequences may take on this device beside all that a trainer holds."""
    policy, config = session.policy, session.config
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    held = OPTIMIZER * trained
    if computes_in_bf16(config, policy.device):
        held += 2 * policy.n_parameters
    if _compared(stage, config):
        held += sum(_float32_bytes(name) for name in session.inputs.teachers)
    if stage_record(stage).rate == "rl" and config.kl and not policy.lora:
        held += 4 * policy.n_parameters  # the reference
    free = float(free_bytes(policy.device)) - held
    if policy.device.type == "cpu":
        return min(usable_bytes(policy.device), free)
    if stage_record(stage).samples and config.use_vllm:
        free -= config.vllm_memory * _total_bytes(policy.device)
    return USABLE * free


def _compared(stage: str, config: StageConfig) -> bool:
    """Whether teachers are held beside the policy."""
    return stage == "distill-onpolicy" or (stage == "distill-offline" and config.target == "logits")


def _float32_bytes(model: str) -> int:
    """Bytes of a model's weights once they are loaded as float32; most files hold 16 bits."""
    files = find_model(model, trust_remote_code=False, allow_pickle=False)
    stored = sum(path.stat().st_size for path in files.root.glob("*.safetensors"))
    settings = json.loads((files.root / "config.json").read_text())
    whole = (settings.get("dtype") or settings.get("torch_dtype")) == "float32"
    return stored if whole else 2 * stored


def _total_bytes(device: torch.device) -> int:
    import torch

    return torch.cuda.mem_get_info(device)[1]

"""Weight merging: mixtures of the model with other checkpoints of its architecture, the best by probing.

    interpolate    model + w (sibling - model), w on a grid (WiSE-FT, arXiv:2109.01903)
    soup           uniform mean of all, and greedy soup: in order of their worth, whatever does not make the mean
                   worse (arXiv:2203.05482)
    task-vectors   model + w sum(sibling - model), w on a grid (arXiv:2212.04089)

No trainer runs. Every mixture is set into the policy's weights and looked at as if after so many steps: the watcher
keeps the best by pass@1 on the probe problems and retention. `merge.json` says what each one was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from posttrain_diag.errors import UsageError
from posttrain_diag.stages.policy.policy import load_frozen
from posttrain_diag.stages.session.session import Session
from posttrain_diag.store import write_atomic

if TYPE_CHECKING:
    import torch

GRID = tuple(i / 10 for i in range(1, 11))
"""Weights w that are tried; 0 is the model itself, which the look at the start has seen."""

Weights = Mapping[str, "torch.Tensor"]


def run(session: Session) -> None:
    """Look at every mixture; the best one is taken over when the stage ends.

    Raises:
        UsageError: there are no problems to probe with, or the checkpoints are no siblings of the model.
    """
    if not session.inputs.watched:
        raise UsageError(
            "merge chooses between mixtures on the probe problems, and there are none: give at least 5 training tasks"
        )
    own = {name: parameter.detach().clone() for name, parameter in session.policy.model.named_parameters()}
    siblings = [_sibling(session, path, own) for path in session.inputs.siblings]
    mixtures = Mixtures(session, own, siblings)
    match session.config.merge:
        case "interpolate":
            for i in range(len(siblings)):
                for weight in GRID:
                    mixtures.look({i: weight})
        case "task-vectors":
            for weight in GRID:
                mixtures.look(dict.fromkeys(range(len(siblings)), weight))
        case "soup":
            _soup(mixtures, len(siblings))


def _soup(mixtures: Mixtures, n: int) -> None:
    """Look at each checkpoint alone, at the mean of all, then at the greedy soup; checkpoint -1 is the model."""
    alone = {-1: mixtures.start} | {i: mixtures.look({i: 1.0}) for i in range(n)}
    if n > 1:
        mixtures.look(_mean(range(-1, n)))
    best, *rest = sorted(alone, key=lambda i: -alone[i])
    soup, worth = [best], alone[best]
    for i in rest:
        found = mixtures.look(_mean([*soup, i]))
        if found >= worth:
            soup, worth = [*soup, i], found


def _mean(checkpoints: Sequence[int]) -> dict[int, float]:
    """Weights of the siblings in the mean of some checkpoints; -1 stands for the model, which has the rest."""
    return {i: 1 / len(checkpoints) for i in checkpoints if i >= 0}


@dataclass
class Mixtures:
    """Sets mixtures into the policy and looks at each, in the order in which they are asked for."""

    session: Session
    own: Weights
    """Weights of the model itself."""
    siblings: Sequence[Weights]
    tried: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The mixtures looked at so far, as `merge.json` holds them."""

    def __post_init__(self) -> None:
        """Take over the looks of an earlier process, since looking again would find the same."""
        self.known = {look.step: look.utility for look in self.session.watcher.seen.looks}

    @property
    def start(self) -> float:
        """Worth of the model itself, known from the look before the first mixture."""
        return self._agreed(self.known.get(0, 0.0))

    def look(self, weights: Mapping[int, float]) -> float:
        """Set a mixture into the policy, look at it, and return its worth.

        Args:
            weights: the mixture is model + sum over siblings i of weights[i] (sibling_i - model).
        """
        import torch

        session, step = self.session, len(self.tried) + 1
        rest = 1.0 - sum(weights.values())
        with torch.no_grad():
            for name, parameter in session.policy.model.named_parameters():
                torch.mul(self.own[name], rest, out=parameter)
                for i, weight in weights.items():
                    parameter.add_(self.siblings[i][name], alpha=weight)
        session.policy.sync()
        session.state.steps = step
        worth = 0.0
        if session.is_main:
            worth = self.known[step] if step in self.known else session.watcher.look(step).utility
        worth = self._agreed(worth)
        named = {session.inputs.siblings[i]: weight for i, weight in weights.items()}
        self.tried.append({"step": step, "weights": named, "utility": worth})
        if session.is_main:
            write_atomic(session.folder / "merge.json", json.dumps(self.tried, indent=1) + "\n")
        return worth

    def _agreed(self, worth: float) -> float:
        """The worth that the main process found, told to every process."""
        if self.session.processes.num_processes == 1:
            return worth
        from accelerate.utils import broadcast_object_list

        said = [worth]
        broadcast_object_list(said)
        return said[0]


def _sibling(session: Session, path: str, own: Weights) -> Weights:
    """Load the weights of another checkpoint, by the names of the model's own weights.

    Raises:
        UsageError: the checkpoint has another architecture, other shapes or another vocabulary.
    """
    policy = session.policy
    loaded = load_frozen(path, session.config)
    found = dict(loaded.model.named_parameters())
    where = f"{path} cannot be merged with {session.inputs.model}"
    theirs, ours = type(loaded.model).__name__, type(policy.model).__name__
    if theirs != ours:
        raise UsageError(f"{where}: it is a {theirs}, the model a {ours}; give checkpoints of one architecture")
    for name in (*own, *found):
        if name not in own or name not in found:
            raise UsageError(
                f"{where}: only {'the model' if name in own else 'the sibling'} has the tensor {name}; give "
                "checkpoints that were trained from the same model"
            )
        if found[name].shape != own[name].shape:
            raise UsageError(
                f"{where}: {name} has shape {tuple(found[name].shape)}, in the model {tuple(own[name].shape)}; give "
                "checkpoints that were trained from the same model"
            )
    vocabulary = policy.tokenizer.get_vocab()
    moved = [token for token, i in loaded.tokenizer.get_vocab().items() if vocabulary.get(token) != i]
    if moved:
        raise UsageError(
            f"{where}: their tokenizers differ in {len(moved)} tokens, e.g. {moved[0]!r}; give checkpoints with one "
            "vocabulary"
        )
    return {name: parameter.detach() for name, parameter in found.items()}

"""Exact success probability of a trained zoo model, by enumeration: the ground truth for every probe.

    p(problem) = sum of pi(y | prompt) over token sequences y that stop and whose text the verifier accepts

Sequences are grown one token at a time over the full vocabulary, most of the tree being cut because the text
can no longer become right (families judged on the whole response) or because the mass is below `prune`; all mass
cut for the second reason is added to the upper bound, so p_low <= p <= p_high holds without any assumption.
The path that spells the answer is never cut, so tiny probabilities (1e-30) are still found.

Shapes: N nodes of the tree at one depth (all problems together), V tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.errors import UsageError
from posttrain_diag.types import Problem
from posttrain_diag.zoo.model import load_model, one_thread
from posttrain_diag.zoo.paths import is_chat
from posttrain_diag.zoo.problems import family_of
from posttrain_diag.zoo.vocabulary import EOS_ID, PAD_ID, Vocabulary
from posttrain_diag.zoo.worlds import world_of

if TYPE_CHECKING:
    import pandas as pd

Reading = Literal["strict", "lenient"]
"""As the task demands, or forgiving brackets and punctuation around the answer."""
FloatArray = NDArray[np.float64]

_CHUNK = 16
"""Problems whose trees grow together."""
_WHOLE_RESPONSE = 1e-8
"""Factor on `prune` where nearly every wrong token ends a branch."""
MARKS = ":=|[]"
"""Surface format that the lenient reading forgives around an answer."""


@dataclass(frozen=True)
class Target:
    """Which responses to one problem are right."""

    answer: str
    mark: str
    """The answer is what follows the last mark; empty: the whole response."""
    reading: Reading = "strict"

    def accepts(self, text: str) -> bool:
        """Whether the finished response is right."""
        return self._tail(text) == self._core

    def rest(self, text: str) -> str:
        """What goes on spelling the answer; empty when nothing does."""
        tail = self._tail(text)
        return self._core[len(tail) :] if self._core.startswith(tail) else ""

    def viable(self, text: str) -> bool:
        """Whether some continuation of the response may be right."""
        return bool(self.mark) or self._core.startswith(self._tail(text))

    @property
    def _core(self) -> str:
        return self.answer.strip(MARKS) if self.reading == "lenient" else self.answer

    def _tail(self, text: str) -> str:
        tail = text.rpartition(self.mark)[2] if self.mark else text
        return tail.strip(MARKS) if self.reading == "lenient" else tail


@dataclass
class _Tree:
    """The open nodes at one depth; node i belongs to problem `owner_N[i]`."""

    owner_N: list[int]
    text_N: list[str]
    mass_N: FloatArray
    """Probability that a rollout begins with the node's tokens."""


def exact_success(
    model_dir: str | Path,
    problems: Sequence[Problem],
    *,
    reading: Reading = "strict",
    prune: float = 1e-6,
    max_new_tokens: int = 32,
) -> pd.DataFrame:
    """How likely is one rollout of this model (temperature 1, full vocabulary) to solve each problem?

    Args:
        model_dir: a zoo model's directory.
        problems: problems of builtin:zoo tasks (recognised by their family tag).
        reading: the strict verdict, or the one that forgives brackets and punctuation.
        prune: nodes below this probability are not grown further; they widen [p_low, p_high] instead. Families
            judged on the whole response have small trees: there it is taken 1e-8 times smaller.
        max_new_tokens: rollouts that have not stopped by then fail.

    Returns:
        One row per problem, in order: id, family, length (letters of the word), p_low, p_high (the probability
        lies between), log10_p (of p_low), closed_form_p (strict chance of success under the pre-training law).

    Raises:
        ModelError: the model does not have the vocabulary of the problems' world.
        UsageError: a problem carries no family tag, or problems of several worlds or none, or `prune` or
            `max_new_tokens` out of range.

    References:
        The coverage that k rollouts see follows as 1-(1-p)^k: Brown et al. 2024, arXiv:2407.21787.
    """
    import pandas as pd

    if not problems:
        raise UsageError("no problems: give at least one")
    if not 0 < prune < 1:
        raise UsageError(f"prune is a probability between 0 and 1, got {prune}; 1e-6 is a good value")
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    worlds = {world.name: world for world in (world_of(family_of(problem)) for problem in problems)}
    if len(worlds) > 1:
        raise UsageError(f"the problems are of several worlds ({', '.join(worlds)}): ask for one world at a time")
    vocabulary = next(iter(worlds.values())).vocabulary
    model, chat = load_model(model_dir, vocabulary), is_chat(model_dir)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(problems), _CHUNK):
        chunk = problems[start : start + _CHUNK]
        families = [family_of(problem) for problem in chunk]
        targets = [
            Target(problem.answer or "", fam.mark, reading) for problem, fam in zip(chunk, families, strict=True)
        ]
        prompts = [vocabulary.prompt_ids(problem.prompt_text, chat=chat) for problem in chunk]
        with one_thread():
            low_P, high_P = success_bounds(
                model, vocabulary, prompts, targets, prune=prune, max_new_tokens=max_new_tokens
            )
        for problem, fam, low, high in zip(chunk, families, low_P.tolist(), high_P.tolist(), strict=True):
            x = fam.word(problem.prompt_text)
            rows.append(
                {
                    "id": problem.id,
                    "family": fam.name,
                    "length": len(x),
                    "p_low": low,
                    "p_high": high,
                    "log10_p": math.log10(low) if low > 0 else -math.inf,
                    "closed_form_p": fam.closed_form_p(x),
                }
            )
    return pd.DataFrame(rows, columns=["id", "family", "length", "p_low", "p_high", "log10_p", "closed_form_p"])


def success_bounds(
    model: Any,
    vocabulary: Vocabulary,
    prompts: Sequence[Sequence[int]],
    targets: Sequence[Target],
    *,
    prune: float,
    max_new_tokens: int,
) -> tuple[FloatArray, FloatArray]:
    """Bounds on the success probability of each prompt, by growing all their trees together.

    Args:
        model: a causal language model.
        vocabulary: its tokens.
        prompts: token ids of P prompts.
        targets: what is right after each.
        prune: nodes below this probability are cut and counted as possibly right.
        max_new_tokens: depth of the trees.

    Returns:
        (p_low, p_high), each of shape (P,).
    """
    low_P = np.zeros(len(prompts))
    slack_P = np.zeros(len(prompts))
    prune_P = np.array([prune if target.mark else prune * _WHOLE_RESPONSE for target in targets])
    walker = _Walker(model, prompts)
    tree = _Tree(list(range(len(prompts))), [""] * len(prompts), np.ones(len(prompts)))
    for depth in range(max_new_tokens):
        mass_NV = tree.mass_N[:, None] * np.exp(walker.logprob_NV)
        for i, (owner, text) in enumerate(zip(tree.owner_N, tree.text_N, strict=True)):
            if targets[owner].accepts(text):
                low_P[owner] += mass_NV[i, EOS_ID]
        if depth == max_new_tokens - 1:
            break
        tree, parents, tokens = _grow(tree, mass_NV, targets, prune_P, slack_P, vocabulary.pieces)
        if not tokens:
            break
        walker.step(parents, tokens)
    return low_P, np.minimum(low_P + slack_P, 1.0)


def _grow(
    tree: _Tree,
    mass_NV: FloatArray,
    targets: Sequence[Target],
    prune_P: FloatArray,
    slack_P: FloatArray,
    pieces: tuple[str, ...],
) -> tuple[_Tree, list[int], list[int]]:
    """The next depth of the tree: its nodes, each one's parent, and each one's last token.

    Grown: viable children of at least `prune_P`, and the child that goes on spelling the answer, however unlikely.
    The mass of every other viable child is added to `slack_P`.
    """
    viable_NV = np.ones(mass_NV.shape, dtype=bool)
    spells_NV = np.zeros(mass_NV.shape, dtype=bool)
    for i, (owner, text) in enumerate(zip(tree.owner_N, tree.text_N, strict=True)):
        target = targets[owner]
        if not target.mark:
            viable_NV[i] = [target.viable(text + piece) for piece in pieces]
        if rest := target.rest(text):
            spells_NV[i, _spelling(rest, pieces)] = True
    viable_NV[:, EOS_ID] = False
    grown_NV = viable_NV & (spells_NV | (mass_NV >= prune_P[tree.owner_N, None]))
    np.add.at(slack_P, tree.owner_N, np.where(viable_NV & ~grown_NV, mass_NV, 0.0).sum(axis=1))
    parents, tokens = (index.tolist() for index in np.nonzero(grown_NV))
    grown = _Tree(
        [tree.owner_N[i] for i in parents],
        [tree.text_N[i] + pieces[token] for i, token in zip(parents, tokens, strict=True)],
        mass_NV[grown_NV],
    )
    return grown, parents, tokens


@lru_cache(maxsize=100_000)
def _spelling(rest: str, pieces: tuple[str, ...]) -> int:
    """The longest token that `rest` begins with."""
    return max((i for i, piece in enumerate(pieces) if piece and rest.startswith(piece)), key=lambda i: len(pieces[i]))


class _Walker:
    """Next-token laws of all open nodes, one forward pass of one token per depth."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        import torch
        from transformers import DynamicCache

        ids_P = [list(ids) for ids in prompts]
        width = max(map(len, ids_P))
        ids = torch.tensor([[PAD_ID] * (width - len(ids)) + ids for ids in ids_P])
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._attention = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in ids_P])
        self._position = (self._attention.cumsum(1) - 1).clamp(min=0)
        self.logprob_NV = self._forward(ids)
        """Next-token log-probabilities of the open nodes, nats, shape (N, V)."""

    def step(self, parents: Sequence[int], tokens: Sequence[int]) -> None:
        """Move to the nodes that extend node `parents[i]` by `tokens[i]`."""
        import torch

        parent = torch.tensor(parents)
        self._cache.batch_select_indices(parent)
        ones = torch.ones(len(tokens), 1, dtype=self._attention.dtype)
        self._attention = torch.cat([self._attention[parent], ones], dim=1)
        self._position = self._position[parent, -1:] + 1
        self.logprob_NV = self._forward(torch.tensor(tokens)[:, None])

    def _forward(self, ids: Any) -> FloatArray:
        import torch

        with torch.no_grad():
            logits = self._model(
                input_ids=ids,
                attention_mask=self._attention,
                position_ids=self._position,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        return logits.double().log_softmax(-1).numpy()

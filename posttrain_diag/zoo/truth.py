"""Exact success probability of a trained zoo model, by enumeration: the ground truth for every probe.

    p(problem) = sum of pi(y | prompt) over token sequences y that stop and whose text the verifier accepts

Sequences are grown one token at a time over the full vocabulary, so all tokenizations of a text count. Most of the
tree is cut because the text can no longer become right (families judged on the whole response) or because the mass is
below `prune`; all mass cut for the second reason is added to the upper bound, so p_low <= p <= p_high holds without
any assumption. What spells the answer or the demonstration is never cut, so tiny probabilities (1e-30) are still found.

Shapes: P problems, N nodes of the tree at one depth (all problems together), V tokens.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.errors import UsageError
from posttrain_diag.tasks import reference_completions
from posttrain_diag.types import Problem
from posttrain_diag.zoo.family import World
from posttrain_diag.zoo.model import load_model, one_thread
from posttrain_diag.zoo.paths import is_chat
from posttrain_diag.zoo.problems import family_of
from posttrain_diag.zoo.tail import Node, Reservoir, draw_token, share_bounds
from posttrain_diag.zoo.targets import Reading, RightResponses
from posttrain_diag.zoo.vocabulary import EOS_ID, PAD_ID, Vocabulary
from posttrain_diag.zoo.worlds import world_of

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
Bounds = tuple[FloatArray, FloatArray]
"""Bounds of success probabilities: (p_low, p_high), each of shape (P,)."""

_CHUNK = 16
"""How many problems' trees grow together."""
_WHOLE_RESPONSE = 1e-4
"""Factor on `prune` for responses that are judged as a whole, where nearly every wrong token ends a branch."""
_WIDTH = 200
"""Most nodes of one problem's tree at one depth, the likeliest ones; this keeps a law that knows nothing affordable."""


class ExactModel:
    """A zoo model that tells its exact success probabilities on problems of its world."""

    def __init__(self, model_dir: str | Path, world: World) -> None:
        """Read the model from its directory.

        Raises:
            ModelError: the model does not have the world's vocabulary.
        """
        self.vocabulary = world.vocabulary
        self._model = load_model(model_dir, world.vocabulary)
        self._chat = is_chat(model_dir)

    def bounds(
        self,
        problems: Sequence[Problem],
        *,
        reading: Reading = "strict",
        prune: float = 1e-6,
        width: int = _WIDTH,
        tail_draws: int = 0,
        max_new_tokens: int | None = None,
        response_prefix_ids: Sequence[Sequence[int]] | None = None,
    ) -> Bounds:
        """Bounds on the success probability of each problem.

        Args:
            problems: P problems of the model's world.
            reading: the verifier's strict or lenient verdict.
            prune: nodes below this probability are cut and counted as possibly right.
            width: most nodes of one problem at one depth; the unlikelier ones are cut like those below `prune`.
            tail_draws: rollouts from the cut branches of each problem that bound how many of them are right; 0: none.
            max_new_tokens: longest response in tokens; None: the cap that `diag analyze` takes for these problems.
            response_prefix_ids: the response's first tokens per problem, given to the model; None: none.

        Returns:
            (p_low, p_high), each of shape (P,).
        """
        prefixes = [()] * len(problems) if response_prefix_ids is None else response_prefix_ids
        prompts = [self.vocabulary.prompt_ids(problem.prompt_text, chat=self._chat) for problem in problems]
        limit = self._limit(problems, prompts) if max_new_tokens is None else max_new_tokens
        low_P, high_P = np.zeros(len(problems)), np.ones(len(problems))
        order = sorted(range(len(problems)), key=lambda i: len(prompts[i]) + len(prefixes[i]))
        for start in range(0, len(order), _CHUNK):
            chunk = order[start : start + _CHUNK]
            with one_thread():
                low_P[chunk], high_P[chunk] = success_bounds(
                    self._model,
                    self.vocabulary,
                    [prompts[i] for i in chunk],
                    [
                        RightResponses(problems[i], self.vocabulary, mark=family_of(problems[i]).mark, reading=reading)
                        for i in chunk
                    ],
                    prune=prune,
                    width=width,
                    tail_draws=tail_draws,
                    max_new_tokens=limit,
                    response_prefix_ids=[prefixes[i] for i in chunk],
                )
        return low_P, high_P

    def _limit(self, problems: Sequence[Problem], prompts: Sequence[Sequence[int]]) -> int:
        """The token cap that `diag analyze` takes for these problems."""
        references = (text for problem in problems for text in reference_completions(problem))
        longest = max((len(self.vocabulary.encode(text)) for text in references), default=0)
        return min(max(32, 4 * (longest + 1)), max(1, self.vocabulary.context_length - max(map(len, prompts))))


@dataclass
class _Tree:
    """The open nodes at one depth; node i belongs to problem `owner_N[i]`."""

    owner_N: list[int]
    text_N: list[str]
    node_N: list[Node]
    mass_N: FloatArray
    """Probability that a rollout begins with the node's tokens."""


def exact_success(
    model_dir: str | Path,
    problems: Sequence[Problem],
    *,
    reading: Reading = "strict",
    prune: float = 1e-6,
    max_new_tokens: int | None = None,
    response_prefix_ids: Sequence[Sequence[int]] | None = None,
) -> pd.DataFrame:
    """How likely one rollout of this model (temperature 1, full vocabulary) is to solve each problem.

    Args:
        model_dir: a zoo model's directory.
        problems: problems of builtin:zoo tasks (recognised by their family tag), all of one world.
        reading: the verifier's strict or lenient verdict (for the latter see `RightResponses`).
        prune: nodes below this probability are not grown further; they widen [p_low, p_high] instead. Families
            judged strictly on the whole response have small trees: there it is taken 1e-4 times smaller.
        max_new_tokens: responses that have not stopped by then (a given prefix counts) fail; None: the cap that
            `diag analyze` takes for these problems.
        response_prefix_ids: the response's first tokens per problem, given to the model; None: none.

    Returns:
        One row per problem, in order: id, family, length (characters of the instance), p_low, p_high (the probability
        lies between), log10_p (of p_low), closed_form_p (strict chance of success under the pre-training law, without
        a prefix).

    Raises:
        ModelError: the model does not have the vocabulary of the problems' world.
        UsageError: a problem carries no family tag, or problems of several worlds or none, or `prune` or
            `max_new_tokens` out of range.

    References:
        The coverage that k rollouts see follows as 1-(1-p)^k: Brown et al. 2024, arXiv:2407.21787.
    """
    import pandas as pd

    if not 0 < prune < 1:
        raise UsageError(f"prune is a probability between 0 and 1, got {prune}; 1e-6 is a good value")
    if max_new_tokens is not None and max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    model = ExactModel(model_dir, one_world(problems))
    low_P, high_P = model.bounds(
        problems,
        reading=reading,
        prune=prune,
        max_new_tokens=max_new_tokens,
        response_prefix_ids=response_prefix_ids,
    )
    rows: list[dict[str, Any]] = []
    for problem, low, high in zip(problems, low_P.tolist(), high_P.tolist(), strict=True):
        fam = family_of(problem)
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


def one_world(problems: Sequence[Problem]) -> World:
    """The world that all the problems belong to.

    Raises:
        UsageError: they are of several worlds, or there are none, or one carries no family tag.
    """
    worlds = {world.name: world for world in (world_of(family_of(problem)) for problem in problems)}
    if not worlds:
        raise UsageError("no problems: give at least one")
    if len(worlds) > 1:
        raise UsageError(f"the problems are of several worlds ({', '.join(worlds)}): ask for one world at a time")
    return next(iter(worlds.values()))


def success_bounds(
    model: Any,
    vocabulary: Vocabulary,
    prompts: Sequence[Sequence[int]],
    targets: Sequence[RightResponses],
    *,
    prune: float,
    max_new_tokens: int,
    width: int = _WIDTH,
    tail_draws: int = 0,
    response_prefix_ids: Sequence[Sequence[int]] | None = None,
) -> Bounds:
    """Bounds on the success probability of each prompt, by growing all their trees together.

    Args:
        model: a causal language model.
        vocabulary: its tokens.
        prompts: token ids of P prompts.
        targets: which responses to each prompt are right.
        prune: nodes below this probability are cut and counted as possibly right.
        max_new_tokens: longest response in tokens, prefix and stop token included.
        width: most nodes of one problem at one depth; the unlikelier ones are cut like those below `prune`.
        tail_draws: rollouts from the cut branches of each problem that bound how many of them are right; each bound
            then fails with probability `tail.RISK`. 0: none are drawn, and the bounds hold for certain.
        response_prefix_ids: the response's first tokens, given to the model, per prompt.

    Returns:
        (p_low, p_high), each of shape (P,).
    """
    prefixes = [()] * len(prompts) if response_prefix_ids is None else response_prefix_ids
    starts = [[*prompt, *prefix] for prompt, prefix in zip(prompts, prefixes, strict=True)]
    texts = [vocabulary.decode(prefix) for prefix in prefixes]
    rng = np.random.default_rng(len(prompts))
    tail_P = [Reservoir(tail_draws, rng) for _ in prompts]
    low_P = np.zeros(len(prompts))
    prune_P = np.array([prune * _WHOLE_RESPONSE if target.small else prune for target in targets])
    last_P = np.array([max_new_tokens - len(prefix) - 1 for prefix in prefixes])
    walker = _Walker(model, starts)
    tree = _Tree(list(range(len(prompts))), texts, [()] * len(prompts), np.ones(len(prompts)))
    for depth in range(max_new_tokens):
        mass_NV = tree.mass_N[:, None] * np.exp(walker.logprob_NV)
        mass_NV[depth > last_P[tree.owner_N]] = 0.0
        for i, (owner, text) in enumerate(zip(tree.owner_N, tree.text_N, strict=True)):
            if targets[owner].accepts(text):
                low_P[owner] += mass_NV[i, EOS_ID]
        mass_NV[depth == last_P[tree.owner_N]] = 0.0
        tree, parents, tokens = _grow(tree, mass_NV, targets, prune_P, tail_P, vocabulary.pieces, width)
        if not tokens:
            break
        walker.step(parents, tokens)
    high_P = low_P + [tail.mass for tail in tail_P]
    if tail_draws:
        for i, tail in enumerate(tail_P):
            if tail.mass > 0:
                right = _passing(model, vocabulary, starts[i], texts[i], tail.nodes, targets[i], int(last_P[i]), rng)
                low, high = share_bounds(right, tail_draws)
                low_P[i], high_P[i] = low_P[i] + low * tail.mass, low_P[i] + high * tail.mass
    return low_P, np.minimum(high_P, 1.0)


def _grow(
    tree: _Tree,
    mass_NV: FloatArray,
    targets: Sequence[RightResponses],
    prune_P: FloatArray,
    tail_P: Sequence[Reservoir],
    pieces: tuple[str, ...],
    width: int,
) -> tuple[_Tree, list[int], list[int]]:
    """Grow the tree by one depth.

    Kept are viable children of at least `prune_P`, the likeliest `width` of each problem, and those that go on spelling
    the answer, however unlikely. Every other viable child goes to `tail_P`.

    Returns:
        The tree at its next depth, the parent of each of its nodes, and the last token of each.
    """
    viable_NV = np.empty(mass_NV.shape, dtype=bool)
    spelled_NV = np.zeros(mass_NV.shape, dtype=bool)
    for i, (owner, text) in enumerate(zip(tree.owner_N, tree.text_N, strict=True)):
        viable_NV[i] = targets[owner].viable_V(text)
        spelled_NV[i, list(targets[owner].spelled(text))] = True
    viable_NV &= mass_NV > 0
    owner_N = np.array(tree.owner_N)
    grown_NV = viable_NV & (mass_NV >= prune_P[owner_N, None])
    for owner in set(tree.owner_N):
        own_N = np.flatnonzero(owner_N == owner)
        likely_NV = grown_NV[own_N]
        if likely_NV.sum() > width:
            kept_NV = np.where(likely_NV, mass_NV[own_N], 0.0)
            likely_NV &= kept_NV >= np.partition(kept_NV, -width, axis=None)[-width]
        grown_NV[own_N] = likely_NV | (spelled_NV[own_N] & viable_NV[own_N])
        cut_NV = np.where(viable_NV[own_N] & ~grown_NV[own_N], mass_NV[own_N], 0.0)
        tail_P[owner].add([tree.node_N[i] for i in own_N], cut_NV)
    parents, tokens = (index.tolist() for index in np.nonzero(grown_NV))
    grown = _Tree(
        [tree.owner_N[i] for i in parents],
        [tree.text_N[i] + pieces[token] for i, token in zip(parents, tokens, strict=True)],
        [(*tree.node_N[i], token) for i, token in zip(parents, tokens, strict=True)],
        mass_NV[grown_NV],
    )
    return grown, parents, tokens


def _passing(
    model: Any,
    vocabulary: Vocabulary,
    start: Sequence[int],
    text: str,
    nodes: Sequence[Node],
    target: RightResponses,
    last: int,
    rng: np.random.Generator,
) -> int:
    """How many rollouts, one from each node, stop by depth `last` and are right.

    `start` are the tokens that come before the nodes, and `text` is how they read.
    """
    walker = _Walker(model, [[*start, *node] for node in nodes])
    written = list(nodes)
    passed = 0
    while written:
        tokens = draw_token(walker.logprob_NV, rng).tolist()
        going: list[int] = []
        for i, (node, token) in enumerate(zip(written, tokens, strict=True)):
            if token == EOS_ID:
                passed += target.accepts(text + vocabulary.decode(node))
            elif len(node) < last:
                going.append(i)
        written = [(*written[i], tokens[i]) for i in going]
        if going:
            walker.step(going, [tokens[i] for i in going])
    return passed


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
        named = "cache" in inspect.signature(model.forward).parameters  # since transformers 5.24
        self._cache_argument = {"cache" if named else "past_key_values": self._cache}
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
                use_cache=True,
                logits_to_keep=1,
                **self._cache_argument,
            ).logits[:, -1]
        return logits.double().log_softmax(-1).numpy()

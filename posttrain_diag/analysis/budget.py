"""What probes may draw beyond the main arm: a multiple of its tokens, by effort.

The main arm's own draws say what a draw costs here. Probes that ask for little get all of it; what is left is divided
among the others, whose draws per problem are thinned, then their problems. The same stored draws give the same plan, so
an interrupted run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from posttrain_diag.evidence import MAIN, DrawSpec, Evidence
from posttrain_diag.settings.analysis import Effort

PROBE_SHARE: Mapping[Effort, float] = {"quick": 1.0, "standard": 2.0, "thorough": 4.0}
"""Tokens of all probes together, as a multiple of the main arm's."""
CHECK_SHARE = 0.5
"""Tokens of the instrument's own follow-up draws, as a multiple of the main arm's."""
BROKEN_SHARE = 0.2
"""The same where the main arm already shows that the instrument is broken."""
FEWEST_DRAWS = 4
"""Draws per prompt below which problems are left out instead."""

Cost = Callable[[DrawSpec], float]


def cost_of(main: Evidence) -> Cost:
    """Expected tokens of a spec's draws, by the mean length of the main arm's."""
    drawn = max(1, int(main.main["drawn"].sum()))
    mean = max(1.0, main.tokens(MAIN) / drawn)
    cap = main.settings.sampling.max_new_tokens

    def cost(spec: DrawSpec) -> float:
        if spec.max_new_tokens is not None and spec.max_new_tokens > cap:
            return float(spec.n * spec.max_new_tokens)  # repeats of draws that were cut
        return spec.n * max(1.0, mean - len(spec.response_prefix_ids))

    return cost


def afford(
    asked: Mapping[str, Sequence[DrawSpec]], tokens: float, cost: Cost, most: Mapping[str, float] | None = None
) -> list[DrawSpec]:
    """The draws that a number of tokens pays for.

    Args:
        asked: probe -> what it wants drawn.
        tokens: in all.
        cost: expected tokens of a spec.
        most: probe -> share of the tokens that it may take at most.
    """
    wanted = {name: sum(map(cost, specs)) for name, specs in asked.items() if specs}
    draws: list[DrawSpec] = []
    left = tokens
    for done, name in enumerate(sorted(wanted, key=lambda name: wanted[name])):
        share = min(left / (len(wanted) - done), tokens * (most or {}).get(name, 1.0))
        kept = thinned(asked[name], share, cost)
        left -= sum(map(cost, kept))
        draws += kept
    return draws


def thinned(specs: Sequence[DrawSpec], tokens: float, cost: Cost) -> list[DrawSpec]:
    """Fewer draws per spec, then fewer problems, until the specs cost no more than this; empty where nothing fits.

    Args:
        specs: of one probe.
        tokens: that it may cost.
        cost: expected tokens of a spec.
    """
    total = sum(map(cost, specs))
    if total <= tokens:
        return list(specs)
    factor = max(0.0, tokens) / total
    fewer = [replace(spec, n=min(spec.n, max(FEWEST_DRAWS, int(spec.n * factor)))) for spec in specs]
    problems = list(dict.fromkeys(spec.problem_id for spec in fewer))
    by_problem = dict.fromkeys(problems, 0.0)
    for spec in fewer:
        by_problem[spec.problem_id] += cost(spec)
    for kept in range(len(problems), 0, -1):
        picks = np.linspace(0, len(problems) - 1, kept).round().astype(int)
        chosen = {problems[i] for i in picks}
        if sum(by_problem[key] for key in chosen) <= tokens:
            return [spec for spec in fewer if spec.problem_id in chosen]
    return []

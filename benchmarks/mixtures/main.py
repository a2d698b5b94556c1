"""Do the intervals of the class shares hold the truth, on mixtures of problems whose shares are known?

`python -m benchmarks mixtures [--seeds=12]`. No model: every problem has a class and success probabilities of its own,
from which draws are made as `diag analyze` makes them: a main arm of 64 draws, a few after each prefix, then more after
the prefix that helps most. Each mixture is judged with and without tags that name a problem's source. Writes
benchmarks/mixtures/.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from posttrain_probes import format_gap, prefix_ladder
from posttrain_probes.synthetic import frame_of, make_problem

from benchmarks.machine import write
from posttrain_diag.diagnose import diagnose
from posttrain_diag.evidence import MAIN, Evidence, Settings
from posttrain_diag.store.base import TALLIED
from posttrain_diag.types import CLASSES, Problem, ProblemClass, SamplingParams

MIXTURES: tuple[Mapping[ProblemClass, float], ...] = (
    {"mastered": 0.5, "support": 0.4, "guided": 0.1},
    {"support": 0.5, "guided": 0.5},
    {"reshaping": 0.5, "support": 0.5},
    {"guided": 0.7, "reshaping": 0.3},
    {"format": 0.4, "support": 0.4, "mastered": 0.2},
    {"mastered": 0.2, "reshaping": 0.2, "format": 0.2, "guided": 0.2, "support": 0.2},
)
PROBLEMS = 60
MAIN_DRAWS, FIRST_DRAWS = 64, 16
ASKED = 0.85
"""Share of the cells whose 90% interval is to hold the truth."""


@dataclass(frozen=True)
class Rates:
    """The success probabilities of one problem."""

    strict: float
    form: float
    """Chance that a strict failure is right in substance."""
    prefix: tuple[float, ...]
    """Success after each share of a trace."""


def rates_of(name: ProblemClass, rng: np.random.Generator) -> Rates:
    """A problem of a class, with probabilities spread over what the class allows."""
    never = float(10 ** rng.uniform(-8, -3.5))
    after = 1 - (1 - float(np.exp(rng.uniform(np.log(0.02), np.log(0.8))))) ** np.array([0.01, 0.1, 0.4, 1.0])
    guided = tuple(np.maximum(never, after).tolist())
    nowhere = (never,) * 4
    match name:
        case "mastered":
            return Rates(float(rng.uniform(0.85, 1.0)), 0.0, (0.95,) * 4)
        case "reshaping":
            p = float(np.exp(rng.uniform(np.log(0.008), np.log(0.7))))
            return Rates(p, 0.0, tuple((p + (1 - p) * after).tolist()))
        case "format":
            return Rates(float(rng.uniform(0.0, 0.01)), float(rng.uniform(0.6, 1.0)), nowhere)
        case "guided":
            return Rates(never, 0.0, guided)
        case "support":
            return Rates(never, 0.0, nowhere)


def tally_row(key: str, arm: str, n: int, p: float, form: float, rng: np.random.Generator) -> dict[str, object]:
    """Counts of n draws of one problem under one arm.

    Args:
        key: the problem's id.
        arm: the arm's name.
        n: draws.
        p: success probability.
        form: chance that a failure is right in substance.
        rng: source of randomness.
    """
    passed = int(rng.binomial(n, p))
    lenient = passed + int(rng.binomial(n - passed, form))
    counts = {"c": passed, "failed": n - passed, "truncated": 0, "errored": 0, "lenient": lenient, "tokens": 8 * n}
    return {"problem_id": key, "arm": arm, **{name: counts[name] for name in TALLIED}}


def simulate(shares: Mapping[ProblemClass, float], seed: int, *, tagged: bool) -> Evidence:
    """All that an analysis would have drawn of a mixture.

    Args:
        shares: share of the problems in each class.
        seed: of the problems and of their draws.
        tagged: whether a problem's tag names the class that it was made for.
    """
    rng = np.random.default_rng([seed, *(round(100 * value) for value in shares.values())])
    names = [name for name, share in shares.items() for _ in range(round(PROBLEMS * share))]
    problems: dict[str, Problem] = {}
    rates: dict[str, Rates] = {}
    for i, name in enumerate(names):
        problems[f"p{i}"] = make_problem(i, tags=(name,) if tagged else (), demos=(f"so it is right-p{i}",))
        rates[f"p{i}"] = rates_of(name, rng)
    rows = [tally_row(key, MAIN, MAIN_DRAWS, one.strict, one.form, rng) for key, one in rates.items()]
    settings = Settings(SamplingParams(max_new_tokens=64))
    evidence = Evidence(problems, frame_of([]), (), settings, None, tallies=pd.DataFrame(rows))
    ids = prefix_ladder.laddered(evidence)
    arms = [prefix_ladder.arm_name("true", share) for share in prefix_ladder.SHARES]
    for arm, place in zip(arms, range(len(arms)), strict=True):
        rows += [tally_row(key, arm, FIRST_DRAWS, rates[key].prefix[place], 0.0, rng) for key in ids]
    evidence = replace(evidence, tallies=pd.DataFrame(rows))
    ranked = prefix_ladder.by_success(evidence)
    if ranked:
        best = prefix_ladder.SHARES.index(ranked[0])
        more = min(settings.rollout_budget, -(-prefix_ladder.POOLED // len(ids))) - FIRST_DRAWS
        added = [tally_row(key, arms[best], max(0, more), rates[key].prefix[best], 0.0, rng) for key in ids]
        rows = pd.concat([evidence.tallies, pd.DataFrame(added)]).groupby(["problem_id", "arm"], as_index=False).sum()
    return replace(evidence, tallies=pd.DataFrame(rows))


@dataclass(frozen=True)
class Cell:
    """One class of one simulated run."""

    mixture: int
    seed: int
    tagged: bool
    name: ProblemClass
    truth: float
    value: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the interval holds the true share."""
        return self.low - 1e-9 <= self.truth <= self.high + 1e-9


def judge(mixture: int, seed: int, *, tagged: bool) -> list[Cell]:
    """The shares that a diagnosis gives a simulated mixture, beside the true ones."""
    shares = MIXTURES[mixture]
    evidence = simulate(shares, seed, tagged=tagged)
    found = diagnose(evidence, [format_gap.measure(evidence), prefix_ladder.measure(evidence)]).shares
    cells: list[Cell] = []
    for name in CLASSES:
        share = found[name]
        assert share.value is not None and share.low is not None and share.high is not None, share.reason
        truth = round(PROBLEMS * shares.get(name, 0.0)) / PROBLEMS
        cells.append(Cell(mixture, seed, tagged, name, truth, share.value, share.low, share.high))
    return cells


def coverage(cells: Sequence[Cell]) -> float:
    """Share of the cells whose interval holds the truth."""
    held: NDArray[np.bool_] = np.array([cell.holds for cell in cells])
    return float(held.mean())


def lines_of(cells: Sequence[Cell]) -> list[str]:
    """The results as Markdown."""
    lines = [
        f"{PROBLEMS} problems each. Asked: {ASKED:.0%} of the cells (a class of a run) in their 90% interval. A class",
        "that is in the mixture is harder than one that is not, so those are counted apart.",
        "",
        "| mixture | tags | all cells | classes in the mixture | mean width | mean error |",
        "|---|---|---|---|---|---|",
    ]
    for tagged in (False, True):
        for mixture in (*range(len(MIXTURES)), None):
            chosen = [c for c in cells if c.tagged == tagged and mixture in (None, c.mixture)]
            inside = [c for c in chosen if c.truth > 0]
            name = "all" if mixture is None else ", ".join(f"{v:.0%} {k}" for k, v in MIXTURES[mixture].items())
            width, error = np.mean([[c.high - c.low, abs(c.value - c.truth)] for c in inside], axis=0)
            lines.append(
                f"| {name} | {'yes' if tagged else 'no'} | {coverage(chosen):.2f} | {coverage(inside):.2f} "
                f"| {width:.3f} | {error:.3f} |"
            )
    return lines


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    options = parser.parse_args()
    cells: list[Cell] = []
    for mixture in range(len(MIXTURES)):
        for tagged in (False, True):
            for seed in range(options.seeds):
                cells += judge(mixture, seed, tagged=tagged)
            own = [c for c in cells if c.mixture == mixture and c.tagged == tagged]
            print(f"mixture {mixture} tags {tagged}: {coverage(own):.2f}", flush=True)
    lines = lines_of(cells)
    print("\n".join(lines))
    inside = [c for c in cells if c.truth > 0]
    data = {"seeds": options.seeds, "coverage": coverage(cells), "coverage_in_mixture": coverage(inside)}
    data |= {
        f"coverage_{'tagged' if tagged else 'untagged'}": coverage([c for c in cells if c.tagged == tagged])
        for tagged in (False, True)
    }
    write("mixtures", "Intervals of class shares on mixtures of known shares", data, lines)


if __name__ == "__main__":
    main()

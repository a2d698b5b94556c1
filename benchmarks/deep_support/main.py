"""Deep support: are the lower bounds valid and tight where the exact p is known?

100 repeats (20 for the controls) with fresh seeds; in each, 512 rollouts per problem from the demonstration-tilted proposal of the probe, on
zoo problems whose success probability was enumerated. F15 is the family the probe is for (p about 2e-7); the others are
controls: T, whose p is of no use to anything, and families that plain rollouts do solve.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from posttrain_probes.deep_support import ARM, REACH, tilt_towards

from benchmarks.machine import write
from posttrain_diag.engines.contract import Engine, Prompt, SampleRequest
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.rollouts.identity import draw_seed
from posttrain_diag.stats import betting_lower_bound, deep_support, importance_terms
from posttrain_diag.tasks import load_tasks, verify
from posttrain_diag.types import Problem, SamplingParams
from posttrain_diag.zoo import load_truth, resolve_model

ROLLOUTS = 512
SETS = (("F15", "frontier"), ("F", "base"), ("T", "base"), ("S", "base"))


class Repeats:
    """The bounds of one set: 95% one-sided, all repeats of all problems."""

    def __init__(self, engine: Engine, problems: list[Problem], rollouts: int, cap: int = 32) -> None:
        self.engine = engine
        self.problems = {problem.id: problem for problem in problems}
        self.rollouts = rollouts
        self.params = SamplingParams(max_new_tokens=cap)
        self.lows: dict[str, list[float]] = {key: [] for key in self.problems}
        """Betting bound whatever the weights look like: the claim under test."""
        self.shown: dict[str, list[float | None]] = {key: [] for key in self.problems}
        """What the probe would report; None for no estimate."""
        self.values: dict[str, list[float]] = {key: [] for key in self.problems}
        self._passes: dict[tuple[str, str], bool] = {}

    def run(self, repeat: int) -> None:
        """One repeat."""
        requests = [
            SampleRequest(
                key,
                Prompt(text=problem.prompt),
                tuple(range(self.rollouts)),
                tuple(draw_seed(repeat, f"{key} {ARM}", i) for i in range(self.rollouts)),
                tilt_towards((*self.engine.response_ids(problem.demos[0]), *self.engine.info.stop_token_ids)),
            )
            for key, problem in self.problems.items()
        ]
        found: dict[str, list[tuple[int, float, float, bool]]] = {key: [] for key in self.problems}
        for draw in self.engine.sample(requests, self.params):
            assert draw.policy_logprob is not None and draw.proposal_logprob is not None
            passed = draw.finish_reason == "stop" and self._verify(draw.key, draw.text)
            found[draw.key].append((draw.sample_idx, draw.policy_logprob, draw.proposal_logprob, passed))
        for key, rows in found.items():
            rows.sort()
            policy, proposal, passed = (np.array([row[i] for row in rows]) for i in (1, 2, 3))
            log_term_T = importance_terms(policy, proposal, passed, delta=0.0)
            self.lows[key].append(betting_lower_bound(log_term_T, 0.05))
            self.values[key].append(float(np.exp(log_term_T).mean()))
            self.shown[key].append(deep_support(policy, proposal, passed, delta=0.0, alpha=0.05).low)

    def _verify(self, key: str, text: str) -> bool:
        if (key, text) not in self._passes:
            self._passes[key, text] = verify(text, self.problems[key]).strict
        return self._passes[key, text]


def evenly(problems: list[Problem], n: int) -> list[Problem]:
    """Problems spread over the list."""
    return [problems[i] for i in np.linspace(0, len(problems) - 1, min(n, len(problems))).round().astype(int)]


def summarise(done: Repeats, low_P: np.ndarray, high_P: np.ndarray) -> dict[str, float | int | None]:
    """Figures over repeats and problems; the exact p lies in [low_P, high_P]."""
    low_PR = np.array([done.lows[key] for key in done.problems])
    value_PR = np.array([done.values[key] for key in done.problems])
    shown_PR = np.array([done.shown[key] for key in done.problems], dtype=float)
    valid_PR = low_PR <= high_P[:, None]
    wrong_shown = np.nan_to_num(shown_PR, nan=0.0) > high_P[:, None]
    ratio_P = np.median(low_PR, axis=1) / high_P
    shown_ratio = (shown_PR / high_P[:, None])[~np.isnan(shown_PR)]
    return {
        "problems": len(low_PR),
        "repeats": low_PR.shape[1],
        "p_median": float(np.median(low_P)),
        "valid_share": float(valid_PR.mean()),
        "below_p_low_share": float((low_PR <= low_P[:, None]).mean()),
        "valid_share_worst_problem": float(valid_PR.mean(axis=1).min()),
        "shown_and_too_high_share": float(wrong_shown.mean()),
        "median_low_over_p": float(np.median(ratio_P)),
        "worst_problem_median_low_over_p": float(ratio_P.min()),
        "mean_value_over_p": float(np.mean(value_PR.mean(axis=1) / low_P)),
        "shown_share": float((~np.isnan(shown_PR)).mean()),
        "shown_median_low_over_p": float(np.median(shown_ratio)) if len(shown_ratio) else None,
        "largest_low": float(low_PR.max()),
    }


def main() -> int:
    """Run all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 repeats of 8 problems")
    arguments = parser.parse_args()
    repeats, n_problems = (10, 8) if arguments.quick else (100, 16)
    truth = load_truth().set_index(["model", "tasks", "id"])
    results: dict[str, dict[str, float | int | None]] = {}
    for tasks, model in SETS:
        start = time.perf_counter()
        engine = load_hf_engine(str(resolve_model(f"zoo:{model}")), device="cpu")
        problems = evenly(list(load_tasks(f"builtin:zoo/{tasks}").problems), n_problems)
        done = Repeats(engine, problems, ROLLOUTS)
        for repeat in range(repeats if tasks == "F15" else repeats // 5):
            done.run(repeat)
        exact = truth.loc[[(model, tasks, problem.id) for problem in problems]]
        found = summarise(done, exact["p_low"].to_numpy(float), exact["p_high"].to_numpy(float))
        results[f"{model}/{tasks}"] = {**found, "time_s": round(time.perf_counter() - start, 1)}
        sys.stderr.write(f"{model}/{tasks} {results[f'{model}/{tasks}']}\n")
        engine.close()
    write("deep_support", title(repeats), {"repeats": repeats, "rollouts": ROLLOUTS, "sets": results}, table(results))
    f15 = results["frontier/F15"]
    ok = f15["valid_share"] >= 0.95 and f15["median_low_over_p"] >= 0.1  # type: ignore[operator]
    return 0 if ok else 1


def title(repeats: int) -> str:
    """Heading of the results."""
    return f"Deep support: {ROLLOUTS} demonstration-tilted rollouts per problem, {repeats} repeats (controls: {repeats // 5})"


def table(results: dict[str, dict[str, float | int | None]]) -> list[str]:
    """The results as Markdown."""
    columns = {
        "repeats": "repeats",
        "problems": "problems",
        "p_median": "median exact p",
        "valid_share": "valid bounds",
        "valid_share_worst_problem": "valid, worst problem",
        "below_p_low_share": "below the enumerated part of p",
        "median_low_over_p": "median low/p",
        "worst_problem_median_low_over_p": "worst problem's median low/p",
        "mean_value_over_p": "mean estimate/p",
        "shown_share": "shown",
        "shown_median_low_over_p": "median low/p where shown",
        "shown_and_too_high_share": "shown and too high",
        "largest_low": "largest bound",
        "time_s": "s",
    }
    lines = ["| set | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in results.items():
        cells = ("–" if row[key] is None else f"{row[key]:.3g}" for key in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        "valid: the 95% betting bound is at most the exact p, whatever the weights look like. shown: share of "
        "(problem, repeat) that pass the health checks, so that the probe gives a bound at all.",
        f"Target on F15: valid >= 95%, median within 10x. Proposal: lean = {REACH}^(1/T), "
        "see `posttrain_probes/deep_support.py`.",
    ]


if __name__ == "__main__":
    sys.exit(main())

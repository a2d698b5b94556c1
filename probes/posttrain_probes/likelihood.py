"""How likely are correct traces under the policy, and which tokens block them?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.engines.contract import Engine
from posttrain_diag.evidence import MAIN, Evidence, Needs, ScoreSpec
from posttrain_diag.store import ScoreRow
from posttrain_diag.types import Estimate, Figure, Measurement
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.estimates import mean_estimate, not_in_counts, share_estimate
from posttrain_probes.synthetic import make_evidence

CARD = ProbeCard(
    name="likelihood",
    question="How likely are correct traces under the policy, and which of their tokens are unavailable?",
    method="Teacher-forced log pi(demo); smallest token probability and its rank along the trace (action "
    "availability); typicality z = (demo log-prob per token - mean over own draws) / sd over own draws. "
    "log pi(demo) bounds p from below and says nothing when it is small: a rare style is not missing support.",
    chance_level="uniform policy: -ln(vocabulary size) nats per token",
    cost="one forward pass over each demonstration",
    references=("arXiv:2510.15020",),
)

BLOCKED = 1e-4
"""A token below this probability is called blocked: 1 draw in 10,000 would choose it."""
MAX_DEMOS = 1
"""Number of demonstrations scored per problem, the first and best ones."""
EXAMPLES = 12
"""Number of problems whose demonstration is kept token by token for the report."""


def plan(evidence: Evidence, engine: Engine) -> Needs:
    """Score the first demonstration of every problem."""
    del engine
    scores = [
        ScoreSpec(key, f"demo:{index}", text)
        for key in evidence.ids
        for index, text in enumerate(evidence.problems[key].demos[:MAX_DEMOS])
    ]
    without = len(evidence.problems) - len({spec.problem_id for spec in scores})
    notes = (f"{without} problems have no demonstration to score",) if without else ()
    return Needs(scores=tuple(scores), notes=notes)


def draw_rates(evidence: Evidence) -> dict[str, NDArray[np.float64]]:
    """Log-probability per token of each problem's finished draws whose likelihood the engine told.

    Returns:
        For each problem id the rates in nats, shape (draws,).
    """
    drawn = evidence.arm(MAIN)
    drawn = drawn[(drawn["finish_reason"] == "stop") & drawn["logprob"].notna()]
    rates = (drawn["logprob"] / drawn["n_tokens"]).astype(float)
    return {str(key): np.asarray(group, np.float64) for key, group in rates.groupby(drawn["problem_id"], sort=False)}


def typicality(rates: NDArray[np.float64] | None, row: ScoreRow) -> float:
    """The standard score of a demonstration's log-probability per token among the draws of its problem.

    Args:
        rates: log-probabilities per token of the problem's draws as `draw_rates` gives them, shape (draws,).
        row: the scores of the demonstration.

    Returns:
        The standard score; NaN with fewer than 4 draws.
    """
    if rates is None or len(rates) < 4:
        return float("nan")
    spread = max(float(rates.std(ddof=1)), 1e-3)
    return float((row.logprobs.mean() - rates.mean()) / spread)


def measure(evidence: Evidence) -> Measurement:
    """Measure per problem the demonstration's log-probability, its weakest token and its typicality."""
    if evidence.counts is not None:
        why = "scoring correct traces needs the model"
        return not_in_counts(CARD.name, CARD.question, "demo_nll_per_token", why, evidence)
    level = evidence.settings.level
    rows = [row for row in evidence.scores if row.kind.startswith("demo:")]
    columns = ["demo_logprob_nats", "demo_nll_per_token", "min_token_prob", "max_token_rank", "typicality_z"]
    if not rows:
        undefined = Estimate.undefined("no demonstration was scored", level)
        empty = pd.DataFrame(index=list(evidence.ids), columns=columns, dtype=float)
        return Measurement(CARD.name, CARD.question, empty, {"demo_nll_per_token": undefined})
    first = {row.problem_id: row for row in reversed(rows)}
    rates = draw_rates(evidence)
    table = pd.DataFrame.from_dict(
        {
            key: (
                float(row.logprobs.sum()),
                float(-row.logprobs.mean()),
                float(np.exp(row.logprobs.min())),
                int(row.ranks.max()),
                typicality(rates.get(key), row),
            )
            for key, row in first.items()
        },
        orient="index",
        columns=columns,
    )
    summary = {
        "demo_nll_per_token": mean_estimate(table["demo_nll_per_token"].to_numpy(float), level=level),
        "blocked_share": share_estimate(int((table["min_token_prob"] < BLOCKED).sum()), len(table), level=level),
    }
    worst = sorted(first.values(), key=lambda row: float(row.logprobs.min()))
    step = max(1, len(worst) // EXAMPLES)
    figures = (
        Figure(
            "demo_likelihood",
            "Likelihood of correct traces",
            {
                "problem_id": list(table.index),
                "demo_logprob_nats": table["demo_logprob_nats"].tolist(),
                "min_token_prob": table["min_token_prob"].tolist(),
            },
        ),
        Figure("demo_tokens", "Where correct traces are blocked", {"examples": [_tokens(r) for r in worst[::step]]}),
    )
    return Measurement(CARD.name, CARD.question, table.reindex(list(evidence.ids)), summary, figures)


def _tokens(row: ScoreRow) -> dict[str, object]:
    pieces = zip(row.token_texts, row.logprobs.tolist(), row.ranks.tolist(), strict=True)
    return {
        "problem_id": row.problem_id,
        "tokens": [{"text": text, "logprob": logprob, "rank": rank} for text, logprob, rank in pieces],
    }


def validate() -> None:
    """Check that a demonstration of probabilities .5, .5, 1e-6 is blocked, and that one of .5, .5, .5 is not."""

    def row(index: int, probs: list[float]) -> ScoreRow:
        size = len(probs)
        return ScoreRow(
            f"p{index}",
            "demo:0",
            "m",
            "p",
            f"c{index}",
            ("a",) * size,
            np.zeros(size, np.int32),
            np.log(np.asarray(probs, np.float32)),
            np.zeros(size, np.int32),
            np.zeros(size, np.float32),
        )

    scores = (row(0, [0.5, 0.5, 1e-6]), row(1, [0.5, 0.5, 0.5]))
    found = measure(make_evidence([(8, 0), (8, 4)], scores=scores))
    assert found.summary["blocked_share"].value == 0.5, found.summary
    assert abs(found.per_problem.loc["p1", "demo_logprob_nats"] - 3 * np.log(0.5)) < 1e-5


PROBE = Probe(CARD, measure, validate, plan, requires=("scores",))

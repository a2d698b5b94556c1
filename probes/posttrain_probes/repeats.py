"""Instrument checks on the draws: equal where they should differ, or drawn from a law that hardly draws at all."""

from __future__ import annotations

import numpy as np
import pandas as pd

from posttrain_diag.evidence import Evidence
from posttrain_diag.types import Finding
from posttrain_probes.estimates import share_estimate

IDENTICAL_LOG_P = -14.0
"""Equal draws are suspicious when their joint log-probability is below this (about one in a million)."""
SURE = 0.95
"""A problem is deterministic when one text makes up this share of its draws, or of the declared law."""
UNSURE = 0.6
"""A deterministic problem is the sampling law's doing when the model itself gives that text at most this probability.
"""
GREEDY = 0.1
"""A temperature or top_p below this is greedy decoding in all but name."""
BROKEN_SHARE = 0.2
SUSPECT_SHARE = 0.05
MIN_DRAWS = 4


def duplicate_draws(evidence: Evidence) -> Finding | None:
    """Problems whose draws are all equal although their own likelihood says that cannot be chance."""
    if evidence.settings.sampling.temperature == 0.0:
        return Finding(
            "duplicate_draws",
            "broken",
            share_estimate(len(evidence.main), len(evidence.main), level=evidence.settings.level),
            evidence.ids,
            "Temperature is 0: all draws of a problem are the same draw, so pass@k and support cannot be measured. "
            "Sample at temperature 1 (or the temperature your RL rollouts will use).",
        )
    alike = _modes(evidence)
    surprise = alike["policy"].fillna(alike["raw"]) * (alike["n"] - 1)
    suspicious = (alike["n"] > 1) & (alike["mode"] == alike["n"]) & (surprise < IDENTICAL_LOG_P)
    equal = [str(key) for key in alike.index[suspicious]]
    if not equal:
        return None
    share = share_estimate(len(equal), len(evidence.measured), level=evidence.settings.level)
    return Finding(
        "duplicate_draws",
        "broken" if len(equal) > BROKEN_SHARE * len(evidence.measured) else "suspect",
        share,
        tuple(equal),
        f"All draws are identical on {len(equal)} problems although the model gives that text a low probability: the "
        "sampler repeats itself (greedy decoding, a cache, one seed for all); its counts are not independent draws.",
    )


def near_greedy(evidence: Evidence) -> Finding | None:
    """Problems that the sampling law, unlike the model, always answers alike.

    A moderate temperature may make a problem mastered, and that is a fact of the declared policy; under a law that is
    greedy in all but name mastery is the same artefact as failure.
    """
    params = evidence.settings.sampling
    plain = params.temperature >= 1 and params.top_p >= 1 and params.top_k == 0 and params.min_p == 0
    if plain or params.temperature == 0.0:
        return None
    table = evidence.measured
    alike = _modes(evidence).reindex(table.index)
    greedy = params.temperature < GREEDY or params.top_p < GREEDY or params.top_k == 1 or params.min_p > 1 - GREEDY
    counted = (alike["n"] >= MIN_DRAWS) & (greedy | (table["c"] < evidence.settings.mastery * table["n"]))
    sure = (alike["mode"] >= SURE * alike["n"]) | (alike["policy"] >= np.log(SURE))
    fixed = counted & sure & (alike["raw"] <= np.log(UNSURE))
    keys = tuple(map(str, table.index[fixed]))
    if not keys or len(keys) < SUSPECT_SHARE * len(table):
        return None
    told = f"temperature {params.temperature:g}, top_p {params.top_p:g}, top_k {params.top_k}, min_p {params.min_p:g}"
    return Finding(
        "duplicate_draws",
        "broken" if len(keys) > BROKEN_SHARE * len(table) else "suspect",
        share_estimate(len(keys), len(table), level=evidence.settings.level),
        keys,
        f"The sampling law ({told}) makes nearly every draw the same on {len(keys)} of {len(table)} problems, although "
        "the model itself is unsure there: pass@k and support speak of that law alone. Sample "
        "at temperature 1 without cuts (or as your RL rollouts will).",
    )


def _modes(evidence: Evidence) -> pd.DataFrame:
    """For each problem its draws, those equal to its most frequent text, and that text's mean log-probabilities.

    Columns n, mode, raw (of the model), policy (of the declared law); NaN where the engine does not tell them.
    """
    rows = evidence.arm("main")
    rows = rows[rows["verdict"] != "error"]
    if len(rows) == 0:
        return pd.DataFrame(columns=["n", "mode", "raw", "policy"], dtype=float)
    logprobs = {name: rows[column].astype(float) for name, column in (("raw", "logprob"), ("policy", "policy_logprob"))}
    texts = rows[["problem_id", "text"]].assign(**logprobs).groupby(["problem_id", "text"], sort=False)
    found = texts.agg(mode=("raw", "size"), raw=("raw", "mean"), policy=("policy", "mean"))
    found = found.reset_index("text", drop=True)
    modes = found.sort_values("mode", ascending=False, kind="stable")
    modes = modes[~modes.index.duplicated()]
    return modes.assign(n=rows.groupby("problem_id").size())

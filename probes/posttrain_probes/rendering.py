"""Instrument check on the prompt's form: would the model do better with (or without) its chat template?"""

from __future__ import annotations

import pandas as pd
from scipy import stats

from posttrain_diag.engines.contract import Engine, Prompt, Rendering
from posttrain_diag.errors import EngineError
from posttrain_diag.evidence import MAIN, DrawSpec, Evidence, Needs
from posttrain_diag.types import Finding
from posttrain_probes.estimates import share_estimate

ARM = "template:"
"""Name of the arms with the other rendering, `template:chat` or `template:plain`."""
LOW_PASS_RATE = 0.5
"""Above this pass rate the rendering in use is good enough for any verdict."""
PROBLEMS = 32
DRAWS = 8
P_VALUE = 0.01
MIN_GAIN = 0.05
"""The gain in pass rate that the other rendering must bring to be worth a word."""
MUCH_BETTER = 1.5
"""How many times as often the other rendering must pass to break the instrument."""
FLAGS: dict[Rendering, str] = {
    "chat": "Leave --no-chat-template and --template out, so that the tokenizer's chat template is used",
    "plain": "Give --no-chat-template (or a --template as in training)",
}


def plan(evidence: Evidence, engine: Engine) -> Needs:
    """Ask for a few draws of evenly chosen problems in the other rendering, where the pass rate is low.

    The problems are chosen without a look at their outcomes, so that both renderings can be compared.
    """
    renderings = engine.info.renderings
    table = evidence.measured
    if len(renderings) < 2 or len(table) == 0 or int(table["c"].sum()) > LOW_PASS_RATE * int(table["n"].sum()):
        return Needs()
    other = renderings[1]
    keys = [str(key) for key in table.index]
    draws: list[DrawSpec] = []
    refused = ""
    for key in keys[:: max(1, -(-len(keys) // PROBLEMS))]:
        problem = evidence.problems[key]
        try:
            ids = engine.prompt_ids(Prompt(problem.prompt, problem.messages, rendering=other))
        except EngineError as error:  # a chat template may refuse these messages: then there is nothing to compare
            refused = str(error)
            continue
        context = engine.info.context_length
        if context is None or len(ids) + evidence.settings.sampling.max_new_tokens <= context:
            draws.append(DrawSpec(key, ARM + other, DRAWS, rendering=other))
    notes = () if draws else (f"no draws in the other rendering of the prompts ({refused or 'they do not fit'})",)
    return Needs(draws=tuple(draws), notes=notes)


def other_rendering(evidence: Evidence) -> Finding | None:
    """Prompts whose other rendering is clearly better: an exact sign test over problems with equally many draws."""
    arms = evidence.arms(ARM)
    if not arms:
        return None
    there = evidence.arm(arms[0])
    drawn = there.groupby("problem_id").size()
    here = evidence.arm(MAIN)
    here = here[here["problem_id"].isin(drawn.index)]
    here = here[here["sample_idx"] < here["problem_id"].map(drawn)]
    passes = [_rates(rows).reindex(drawn.index) for rows in (here, there)]
    gain = (passes[1] - passes[0]).dropna()
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    if better == 0 or float(stats.binomtest(better, better + worse, alternative="greater").pvalue) > P_VALUE:
        return None
    rates = [float(rates.loc[gain.index].mean()) for rates in passes]
    if rates[1] < rates[0] + MIN_GAIN:
        return None
    other: Rendering = "chat" if arms[0].endswith("chat") else "plain"
    named = {"chat": "through the tokenizer's chat template", "plain": "as plain text"}
    return Finding(
        "template",
        "broken" if rates[1] >= MUCH_BETTER * rates[0] else "suspect",
        share_estimate(better, len(gain), level=evidence.settings.level),
        tuple(map(str, gain.index[gain > 0])),
        f"With prompts given {named[other]} {rates[1]:.0%} of the draws pass, and {rates[0]:.0%} as they were given "
        f"here ({len(gain)} problems, {better} better, {worse} worse). {FLAGS[other]}, and rerun into a new --out.",
    )


def _rates(rows: pd.DataFrame) -> pd.Series:
    """The share of passing draws per problem."""
    return (rows["verdict"] == "pass").astype(float).groupby(rows["problem_id"]).mean()

"""From the diagnosis to an ordered plan: the rules of SCIENCE.md, with the measured outcomes of TRAINERS.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from posttrain_probes.stopping import near_uniform

from posttrain_diag.diagnose.bottleneck import count_text
from posttrain_diag.evidence import MAIN, Evidence
from posttrain_diag.recommend.catalogue import CATALOGUE, stage_card
from posttrain_diag.types import Cost, Diagnosis, Estimate, Plan, ProblemClass, StageProposal

SOLVED_AFTER = 0.95
"""pass@1 a fitting stage brings its class to: what the stages of TRAINERS.md reached on held-out problems (.93-.98)."""
RL_START = 3.0
"""Pooled successes expected in one budget from which outcome RL can start (TRAINERS.md: one sufficed, .007 did not)."""

RETENTION_RISK: Mapping[str, float] = {
    "grpo": 0.1,
    "rloo": 0.1,
    "rft": 0.15,
    "interleaved": 0.4,
    "distill-onpolicy": 0.5,
    "preference": 0.6,
    "guided-rl": 0.7,
    "distill-offline": 0.8,
    "sft": 0.8,
}
"""Chance of losing more than 5 points of retained pass@1 without replay, read off TRAINERS.md's table of stages."""

RETENTION_RISK_WITH_REPLAY: Mapping[str, float] = {"distill-offline": 0.15, "distill-onpolicy": 0.3}
"""The same for the stages proposed for consolidation, of which replay is a part (retention .986 and .971)."""

TARGETS: Mapping[str, tuple[ProblemClass, ...]] = {
    "grpo": ("reshaping", "format"),
    "rft": ("reshaping", "format"),
    "preference": ("reshaping",),
    "distill-onpolicy": ("reshaping", "guided"),
    "guided-rl": ("guided", "reshaping"),
    "interleaved": ("reshaping", "guided", "support"),
    "sft": ("support", "guided", "format"),
    "distill-offline": ("support", "guided", "reshaping"),
}
"""The classes whose problems a stage moves."""

TAUGHT: Mapping[str, tuple[ProblemClass, ...]] = dict.fromkeys(
    ("distill-offline", "distill-onpolicy"), ("support", "guided", "reshaping")
)
"""The classes that a stage moves on the problems which a compared model solves; it moves no others then."""
TEACHES = 0.1
"""A compared model is no teacher when it solves less than this share of the problems out of the policy's reach."""

ORDER: Mapping[str, tuple[str, ...]] = {
    "reshaping": ("grpo", "rft", "preference"),
    "format": ("sft", "grpo", "rft"),
    "guided": ("guided-rl", "sft", "distill-onpolicy"),
    "support": ("sft", "distill-offline"),
    "consolidation": ("distill-offline", "distill-onpolicy"),
    "mixed": ("interleaved", "sft", "grpo"),
}
"""Stages worth considering per bottleneck, best first."""

NOT_CONSOLIDATING: Mapping[str, str] = {
    "merge": "the averaged weights of the zoo's two checkpoints solved .04 and .13 of what distillation united at .95 "
    "and .94: specialists that disagree do not average",
    "replay": "no stage by itself: mix it into the stages above",
}
"""Why the other means of consolidation are not proposed, from TRAINERS.md."""


@dataclass(frozen=True)
class Resources:
    """What the user has to train with."""

    demos: int = 0
    """Problems with at least one demonstration of their own."""
    pairs: int = 0
    verifier: bool = True
    teacher: bool = False

    @staticmethod
    def of(evidence: Evidence) -> Resources:
        """Read them off the tasks."""
        problems = evidence.problems.values()
        demos, pairs = sum(bool(p.demos) for p in problems), sum(bool(p.pairs) for p in problems)
        return Resources(demos, pairs, teacher=bool(evidence.teachers))


def recommend(diagnosis: Diagnosis, evidence: Evidence, run: str) -> Plan:
    """The stages that pay next, best first, and why the others do not.

    Args:
        diagnosis: the verdict.
        evidence: for the budget, the problems and their resources.
        run: the run directory as the user would type it.
    """
    resources = Resources.of(evidence)
    rejected = dict(NOT_CONSOLIDATING) if diagnosis.bottleneck == "consolidation" else {}
    names = ORDER.get(diagnosis.bottleneck, ())
    if not names:
        reason = _no_stage(diagnosis)
        return Plan((), {card.name: reason for card in CATALOGUE})
    ready: list[StageProposal] = []
    blocked: list[StageProposal] = []
    for name in names:
        against = _impossible(name, diagnosis)
        if against:
            rejected[name] = against
            continue
        proposal = _proposal(name, diagnosis, evidence, resources, run)
        (blocked if _missing(name, resources) else ready).append(proposal)
    chosen = {proposal.stage for proposal in (*ready, *blocked)}
    for card in CATALOGUE:
        if card.name not in chosen and card.name not in rejected:
            rejected[card.name] = f"pays when {card.prescribe_when}; that is not what was found"
    return Plan((*ready, *blocked), rejected)


def _no_stage(diagnosis: Diagnosis) -> str:
    if diagnosis.bottleneck == "instrument":
        return "the instrument must be mended first: no stage can be judged by broken verdicts"
    if diagnosis.bottleneck == "saturated":
        return "these tasks are mastered: no stage can gain on them; diagnose harder ones"
    why = "the evidence does not decide between the bottlenecks: draw more (see the alternatives) before training"
    return why if diagnosis.needed is None else f"{why}. {diagnosis.needed.reason}"


def _successes(diagnosis: Diagnosis) -> float | None:
    estimate = diagnosis.estimates.get("expected_successes")
    return estimate.value if estimate is not None else None


def _impossible(name: str, diagnosis: Diagnosis) -> str:
    """Why a stage cannot work here whatever the user brings; empty when it can."""
    successes = _successes(diagnosis)
    if name in {"grpo", "rft", "preference", "online-preference"} and successes is not None and successes < RL_START:
        count = count_text(successes)
        return f"learns from the policy's own successes, and {count} are expected in the whole rollout budget"
    elsewhere = diagnosis.estimates.get("solved_elsewhere_share")
    if name in TAUGHT and elsewhere is not None and elsewhere.value is not None and elsewhere.value < TEACHES:
        return f"the compared models solve {elsewhere.value:.0%} of the problems that the policy does not reach"
    return ""


def _missing(name: str, resources: Resources) -> tuple[str, ...]:
    needs: list[str] = []
    wanted = stage_card(name).needs
    if "demos" in wanted and resources.demos == 0:
        needs.append("demonstrations: add a `demos` field to the tasks, or --demos FILE")
    if "pairs" in wanted and resources.pairs == 0:
        needs.append("preference pairs (`chosen`, `rejected`); without them the stage online-preference mines its own")
    if "teacher" in wanted and not resources.teacher:
        needs.append("a teacher model that solves these tasks: --teacher M")
    return tuple(needs)


def expected_gain(name: str, diagnosis: Diagnosis, evidence: Evidence) -> Estimate:
    """pass@1 gained over all problems if the stage brings the classes it moves to SOLVED_AFTER.

    The interval runs from no gain (the stage fails) to full mastery of those problems; it is model-dependent,
    because it rests on what stages did on the zoo and not on a run of this stage on this model. A policy close to
    uniform on correct traces has no such precedent, unless another model is there to teach it: the zoo's pair is one.
    """
    table = diagnosis.per_problem
    if "posterior_support" not in table:
        return Estimate.undefined("no class posterior", evidence.settings.level)
    rows = table[table["p_mean"].notna()]
    weight = sum(rows[f"posterior_{cls}"] for cls in TARGETS[name])
    if name in TAUGHT and "other_solves" in rows:
        weight = sum(rows[f"posterior_{cls}"] for cls in TAUGHT[name]) * rows["other_solves"].fillna(0.0)
    gain = float((weight * (SOLVED_AFTER - rows["p_mean"]).clip(lower=0)).mean())
    most = float((weight * (1 - rows["p_mean"])).mean())
    if near_uniform(evidence) and not (name in TAUGHT and diagnosis.bottleneck == "consolidation"):
        reason = "the policy is close to uniform on correct traces: no outcome was ever measured on such a model"
        return Estimate(None, 0.0, most, evidence.settings.level, len(rows), "undefined", reason)
    reason = f"if the stage brings its problems to pass@1 = {SOLVED_AFTER:g}, as fitting stages did on the zoo"
    return Estimate(gain, 0.0, most, evidence.settings.level, len(rows), "model-dependent", reason)


def _cost(name: str, evidence: Evidence) -> Cost:
    """Tokens and FLOPs of one pass with the planned budget; time is left to a pilot on the device."""
    if evidence.counts is not None:
        return Cost(None, None, None)
    drawn = int(evidence.main["drawn"].sum())
    mean_tokens = evidence.tokens(MAIN) / drawn if drawn else 0.0
    parameters = evidence.model.n_parameters if evidence.model is not None else 0
    problems = len(evidence.problems)
    on_policy = stage_card(name).provenance.startswith(("on-policy", "mixed"))
    if on_policy:
        tokens = int(problems * evidence.settings.rollout_budget * mean_tokens)
        flops = (2 + 6) * float(parameters) * tokens  # one forward to draw, three to train
        return Cost(tokens, flops or None, None)
    epochs = 3
    lengths = [len(row.logprobs) for row in evidence.scores if row.kind == "demo:0"]
    tokens = int(epochs * (sum(lengths) or problems * mean_tokens))
    return Cost(tokens, 6 * float(parameters) * tokens or None, None)


def _proposal(name: str, diagnosis: Diagnosis, evidence: Evidence, resources: Resources, run: str) -> StageProposal:
    card = stage_card(name)
    consolidates = diagnosis.bottleneck == "consolidation"
    risk = (RETENTION_RISK_WITH_REPLAY if consolidates else RETENTION_RISK)[name]
    why = _why(name, diagnosis, evidence)
    if risk >= 0.4:
        why += " Mix in replay of what must be kept: without it this stage forgets."
    needs = _missing(name, resources)
    if evidence.counts is not None:
        needs += ("the model and the tasks: run `diag analyze MODEL --tasks FILE`; counts alone cannot be trained on",)
    return StageProposal(
        stage=name,
        role={"format": "repair", "consolidation": "consolidation"}.get(diagnosis.bottleneck, card.role),
        expected_gain=expected_gain(name, diagnosis, evidence),
        retention_risk=risk,
        cost=_cost(name, evidence),
        needs=needs,
        why=why,
        command=f"diag train {run} --stage {name}",
    )


def _why(name: str, diagnosis: Diagnosis, evidence: Evidence) -> str:
    """One or two sentences that tie the stage to what was measured."""
    budget = evidence.settings.rollout_budget
    mixed = diagnosis.estimates.get("mixed_groups@8")
    groups = f"{mixed.value:.0%}" if mixed is not None and mixed.value is not None else "an unknown share"
    successes = _successes(diagnosis)
    count = count_text(successes) if successes is not None else "an unknown number of"
    texts = {
        "grpo": f"The right answers are drawn sometimes: {groups} of groups of 8 hold both passes and failures, and "
        f"{count} successes are expected in {budget} draws per problem, so reward has something to select.",
        "rft": f"{count} verified own rollouts are expected in {budget} draws per problem; training on them keeps the "
        "model's own style.",
        "preference": "Passes and failures of the same problem make pairs; use an SFT term on the chosen side, or the "
        "likelihood of right answers falls too.",
        "guided-rl": "Alone the model never succeeds, after a prefix of a correct trace it does: start rollouts from "
        "prefixes of the demonstrations and shorten them as success rises.",
        "sft": "The model does not produce what the demonstrations show, and more sampling will not change that."
        if diagnosis.bottleneck != "format"
        else "The content is right and the format is not: a light SFT on correctly formatted answers repairs it.",
        "distill-onpolicy": "A teacher that scores the student's own states teaches token by token where the reward "
        "is silent; it needs shared top tokens.",
        "distill-offline": "A teacher that solves these tasks can supply the traces that the model never draws.",
        "interleaved": "Some problems give mixed groups and others never pass: RL on the former, demonstrations on the "
        "latter, in one run.",
    }
    if diagnosis.bottleneck == "consolidation":
        texts |= {
            "distill-offline": "Another model solves what this one does not reach: train on its verified samples, "
            "mixed with replay of what this model does. On the zoo's two checkpoints that gave .95 and .94 and kept "
            ".99 of the other tasks.",
            "distill-onpolicy": "Route each problem to the model that solves it, this one for what it must keep, and "
            "let that model score the student's rollouts. It united the zoo's two checkpoints at .96 (.97 of the other "
            "tasks kept) and gained nothing where the student shared no top tokens with its teacher: then begin with "
            "the teacher's samples.",
        }
    return texts[name]

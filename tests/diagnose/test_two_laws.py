"""What holds a model back is read off two chances per problem: to be right in form, and to be right in substance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from posttrain_probes import BUILTIN
from posttrain_probes.format_gap import IN_FORM, REPAIRABLE, format_by_class, repairable, substance_pass_at_1
from posttrain_probes.synthetic import make_evidence, rollout_row

from posttrain_diag.diagnose import diagnose
from posttrain_diag.evidence import Evidence
from posttrain_diag.stats import Counts, LawByLabel, fit_mixing_law, joint_class_posterior
from posttrain_diag.types import Diagnosis

EPS = 1 / 256


def verdict(evidence: Evidence) -> Diagnosis:
    return diagnose(evidence, [probe.measure(evidence) for probe in BUILTIN])


def answered(substance: float, form: float, *, n: int = 64, problems: int = 40, seed: int = 0) -> Evidence:
    """Problems that are right in substance with about this chance, and then in form with that one."""
    rng = np.random.default_rng(seed)
    chance_P = rng.beta(4 * substance + 1e-9, 4 * (1 - substance), problems)
    right_P = rng.binomial(n, chance_P)
    passed_P = rng.binomial(right_P, form)
    counts = [(n - right + passed, passed) for right, passed in zip(right_P.tolist(), passed_P.tolist(), strict=True)]
    extra = [
        rollout_row(f"p{i}", 1000 + j, lenient=True, text=f"it is right-p{i}, {j}")
        for i in range(problems)
        for j in range(right_P[i] - passed_P[i])
    ]
    return make_evidence(counts, extra=extra)


@pytest.mark.parametrize("n", [16, 64])
@pytest.mark.parametrize("substance", [0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.9])
def test_right_answers_in_a_wrong_form_are_never_out_of_reach(substance: float, n: int) -> None:
    """Never in form, and the references pass: format, mixed or undetermined; from one in three on it is format."""
    found = verdict(answered(substance, 0.0, n=n))
    assert found.bottleneck in ("format", "mixed", "undetermined")
    assert found.instrument.status == "ok"
    if substance >= 0.35:
        assert found.bottleneck == "format" and found.confidence > 0.95


def test_what_is_wrong_in_substance_too_is_out_of_reach() -> None:
    assert verdict(answered(0.0, 0.0)).bottleneck == "support"


def test_a_model_that_mostly_keeps_the_form_is_not_format_limited() -> None:
    found = verdict(answered(0.3, 0.8))
    share = found.shares["format"].value
    assert found.bottleneck == "reshaping" and share is not None and share < 0.2


def test_which_share_of_the_failures_makes_a_format_problem() -> None:
    """s = p + (1-p) f: f is the least for which s >= eps and p <= s/4, or half of the failures."""
    p = np.array([0.0, EPS / 4, 0.01, 0.1, 0.2, 0.9])
    f = repairable(p, EPS)
    s = p + (1 - p) * f
    assert s[0] == pytest.approx(EPS) and s[1] == pytest.approx(EPS)
    assert s[2:4] == pytest.approx(p[2:4] / IN_FORM)
    assert f[4:] == pytest.approx(REPAIRABLE)
    assert ((f > 0) & (f < 1)).all()


def test_the_two_laws_meet_in_each_problem() -> None:
    """Of two problems with equal shares of right failures, only the one that is not mastered is format-limited."""
    form = fit_mixing_law(Counts([256, 60, 256], [200, 50, 0]))
    strict = fit_mixing_law(Counts([256, 400, 256], [0, 340, 0]))
    found = joint_class_posterior(LawByLabel.of(strict), form, lambda p: np.full_like(p, 0.5), (EPS, 0.8))
    assert found[0] == pytest.approx([1, 0, 0], abs=0.05)
    assert found[1] == pytest.approx([0, 0, 1], abs=0.1)
    assert found[2] == pytest.approx([0, 0, 0], abs=0.05)


def test_laws_of_other_problems_are_refused() -> None:
    from posttrain_diag.errors import StatsError

    one, two = fit_mixing_law(Counts([8, 8], [1, 2])), fit_mixing_law(Counts([8], [1]))
    with pytest.raises(StatsError, match="2 and 1 problems"):
        joint_class_posterior(LawByLabel.of(one), two, lambda p: np.full_like(p, 0.5), (EPS, 0.8))


def test_a_form_that_was_never_seen_to_fail_is_no_class() -> None:
    evidence = make_evidence([(64, 3)] * 20)
    assert evidence.format_law is None and not format_by_class(evidence).any()


def test_success_in_substance_is_never_below_strict_success_where_draws_were_stopped_by_outcomes() -> None:
    """Draws went on where nothing passed: a share of all draws would put substance below the strict estimate."""
    counts = [(16, 12)] * 10 + [(256, 2)] * 10
    extra = [rollout_row("p0", 900, lenient=True)]
    evidence = make_evidence(counts, extra=extra)
    strict = next(m for m in verdict(evidence).measurements if m.probe == "format").summary["strict_pass@1"]
    substance = substance_pass_at_1(evidence)
    assert strict.value is not None and substance.value is not None
    assert substance.value >= strict.value and substance.value == pytest.approx(0.38, abs=0.03)
    assert substance.low is not None and substance.high is not None and substance.low < substance.value < substance.high


def test_without_a_reference_nobody_knows_whether_any_form_passes() -> None:
    evidence = replace(answered(0.5, 0.0), references={})
    found = verdict(evidence)
    assert ("verifier_inconsistent", "suspect") in [(f.kind, f.severity) for f in found.instrument.findings]
    assert found.bottleneck != "support"

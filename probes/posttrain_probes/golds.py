"""Instrument checks on gold answers: references that fail, and failures that nothing but the gold explains."""

from __future__ import annotations

import zlib
from collections import Counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.evidence import Evidence
from posttrain_diag.types import Estimate, Finding
from posttrain_probes.estimates import share_estimate

BROKEN_SHARE = 0.05
"""From this share of failing references on, no verdict is given."""
MIN_GROUP = 6
"""Both groups must have at least this many problems before their failures are compared."""
SEPARATED = 0.01
"""A problem without a pass is told from the weaker solved ones where theirs would give a zero less often than this."""
EXPLAINED_AUC = 0.7
"""A cross-validated AUC at or above this means that prompts or answer profiles explain the failures."""
EXPLAINED_Z = 2.5
"""The AUC must also be this many standard errors above chance, because two groups of a dozen reach .7 by luck."""
FEATURE_BUCKETS = 64


def pass_rate(evidence: Evidence) -> Estimate:
    """Share of problems whose references all pass."""
    checked = evidence.gold_passes
    if not checked:
        return Estimate.undefined("no demonstration or gold completion to check the verifier with")
    return share_estimate(sum(checked.values()), len(checked), level=evidence.settings.level)


def sentence(evidence: Evidence) -> str:
    """A sentence on how many golds were checked and passed."""
    checked = evidence.gold_passes
    unchecked = len(evidence.problems) - len(checked)
    text = f"{sum(checked.values())} of {len(checked)} references pass their verifier"
    return text + (f"; {unchecked} problems have nothing to check" if unchecked else "")


def failing_references(evidence: Evidence) -> Finding | None:
    """References that their own verifier rejects."""
    checked = evidence.gold_passes
    failing = tuple(key for key, passed in checked.items() if not passed)
    if not failing:
        return None
    share = share_estimate(len(failing), len(checked), level=evidence.settings.level)
    return Finding(
        "gold_fails",
        "broken" if len(failing) >= BROKEN_SHARE * len(checked) else "suspect",
        share,
        failing,
        f"{len(failing)} of {len(checked)} reference solutions fail their own verifier: wrong golds, or a verifier "
        "that rejects right answers. Mend them and rerun the same command: stored draws are judged again, nothing is "
        "drawn twice.",
    )


def unexplained_failures(evidence: Evidence) -> Finding | None:
    """Never-solved problems that look exactly like solved ones in everything except the gold.

    With wrong golds on a random part of the tasks the model behaves there as it does elsewhere: the prompts are
    alike and so are the profiles of its answers (how often it gives its first, second, third most frequent one).
    A real gap shows in one of them. The check needs failures that cannot be the tail of the solved problems, and
    compares both groups by a cross-validated classifier. Problems whose draws give the right answer in another form are
    in neither group: their gold is right.
    """
    table = _without_misformed(evidence)
    solved = table["c"] > 0
    n_zero, n_solved = int((~solved).sum()), int(solved.sum())
    if min(n_zero, n_solved) < MIN_GROUP or not _separated(table[solved], table[~solved]):
        return None
    features = _features(evidence, table)
    if features is None:
        return None
    profile, prompt = features
    label = (~solved).to_numpy()
    aucs = [cross_validated_auc(x, label, seed=evidence.settings.sampling.seed) for x in (profile, prompt)]
    chance_spread = float(np.sqrt((n_zero + n_solved + 1) / (12 * n_zero * n_solved)))  # of an AUC that tells nothing
    if max(aucs) >= max(EXPLAINED_AUC, 0.5 + EXPLAINED_Z * chance_spread):
        return None
    share = share_estimate(n_zero, len(table), level=evidence.settings.level)
    return Finding(
        "gold_fails",
        "broken" if n_zero >= BROKEN_SHARE * len(table) else "suspect",
        share,
        tuple(map(str, table.index[~solved])),
        f"{n_zero} of {len(table)} problems are never solved although nothing but the gold sets them apart: neither "
        f"their prompts (AUC {aucs[1]:.2f}) nor the profile of the model's answers (AUC {aucs[0]:.2f}) differ from the "
        "solved ones. Wrong golds look like this; audit some of them by hand before spending on training.",
    )


def _without_misformed(evidence: Evidence) -> pd.DataFrame:
    """The measured problems without those that only their form keeps from being solved as often as solved ones."""
    table = evidence.measured
    solved = table["c"] > 0
    if not solved.any():
        return table
    right = evidence.right_in_substance / table["n"]
    return table[solved | (right < weak_rate(table[solved]) / 2)]


def _separated(solved: pd.DataFrame, zero: pd.DataFrame) -> bool:
    """Whether the zeros are ones that even the weaker solved problems would hardly show.

    At p of the lower quartile of the solved problems, c = 0 must be rarer than 1% for each of them.

    Solved problems are those with a success, so c/n overstates their p, the more the fewer draws there are: one draw
    of each would make it 1. Their p is estimated given that c > 0.
    """
    chance = (1 - weak_rate(solved)) ** zero["n"].to_numpy(float)
    return float(np.mean(chance)) < SEPARATED


def weak_rate(solved: pd.DataFrame) -> float:
    """The p of the lower quartile of solved problems, from the columns n and c."""
    return float(np.quantile(rate_given_success(solved["n"].to_numpy(float), solved["c"].to_numpy(float)), 0.25))


def separating_draws(solved: pd.DataFrame) -> float:
    """Draws after which a zero no longer looks like a weak solved problem's, as `_separated` demands; inf: never."""
    p = weak_rate(solved)
    return float(np.log(SEPARATED) / np.log1p(-p)) if 0 < p < 1 else 1.0 if p >= 1 else np.inf


def rate_given_success(n_P: NDArray[np.float64], c_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maximum likelihood estimates of p from binomial counts of which only c > 0 are seen.

    They solve p / (1 - (1-p)^n) = c/n, which gives 0 at c = 1.

    Args:
        n_P: draws per problem, shape (P,).
        c_P: passing draws per problem, at least 1, shape (P,).

    Returns:
        The estimates, shape (P,).
    """
    p_P = c_P / n_P
    for _ in range(100):
        p_P = c_P / n_P * -np.expm1(n_P * np.log1p(-np.minimum(p_P, 1 - 1e-12)))
    return np.where(c_P <= 1, 0.0, p_P)


def _features(evidence: Evidence, table: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Answer-profile features (P, 4) and prompt features (P, F); None where no answers are extracted."""
    rows = evidence.arm("main")
    rows = rows[rows["extracted"].notna() & rows["problem_id"].isin(table.index)]
    rows = rows[rows["sample_idx"] < int(table["drawn"].min())]  # profiles of unequally many draws differ by that alone
    if rows["problem_id"].nunique() < 0.9 * len(table):
        return None
    profile = np.zeros((len(table), 4))
    answers = dict(iter(rows.groupby("problem_id")["extracted"]))
    for i, key in enumerate(table.index):
        if key not in answers:
            continue
        counts = np.asarray([n for _, n in Counter(answers[key].tolist()).most_common()], float)
        shares = counts / counts.sum()
        profile[i, : min(3, len(shares))] = shares[:3]
        profile[i, 3] = float(-(shares * np.log(shares)).sum())
    prompts = [evidence.problems[str(key)].prompt_text for key in table.index]
    prompt = np.zeros((len(prompts), FEATURE_BUCKETS + 1))
    for i, text in enumerate(prompts):
        prompt[i, -1] = np.log1p(len(text))
        for j in range(len(text) - 1):
            prompt[i, zlib.crc32(text[j : j + 2].encode("utf-8", "surrogatepass")) % FEATURE_BUCKETS] += 1
        for word in text.split()[:1]:
            prompt[i, zlib.crc32(b"first" + word[:2].encode("utf-8", "surrogatepass")) % FEATURE_BUCKETS] += 4
    return profile, prompt


def cross_validated_auc(features: NDArray[np.float64], label: NDArray[np.bool_], *, seed: int) -> float:
    """AUC of a ridge classifier by 5-fold cross-validation; it is not turned round where it lies below .5.

    Args:
        features: features of each problem, shape (P, F).
        label: the class of each problem, shape (P,), both values present.
        seed: seeds the folds.

    Returns:
        AUC in [0, 1]; .5 means that the features tell nothing.
    """
    rng = np.random.default_rng(seed)
    folds = np.empty(len(label), int)
    for value in (False, True):  # stratified, so that every fold can be scored
        where = np.flatnonzero(label == value)
        folds[where] = rng.permutation(len(where)) % 5
    scores = np.zeros(len(label))
    for fold in range(5):
        train = folds != fold
        mean, spread = features[train].mean(0), features[train].std(0) + 1e-6
        x = np.c_[(features - mean) / spread, np.ones(len(label))]
        target = np.where(label, 1 / label[train].mean(), -1 / (~label[train]).mean())
        gram = x[train].T @ x[train] + 10.0 * np.eye(x.shape[1])
        scores[~train] = x[~train] @ np.linalg.solve(gram, x[train].T @ target[train])
    order = pd.Series(scores).rank().to_numpy()
    n_one, n_zero = int(label.sum()), int((~label).sum())
    return float((order[label].sum() - n_one * (n_one + 1) / 2) / (n_one * n_zero))

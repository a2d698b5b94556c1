import numpy as np
import pandas as pd
import pytest
import torch
from posttrain_probes.format_gap import REPAIRABLE
from posttrain_probes.prefix_ladder import SHARES

from posttrain_diag.diagnose import bottleneck
from posttrain_diag.errors import UsageError
from posttrain_diag.tasks import verify
from posttrain_diag.zoo import classes, exact_success, mix, problems, resolve_model, true_bottleneck, true_classes
from posttrain_diag.zoo.classes import after_prefixes, demo_prefix
from posttrain_diag.zoo.worlds.strings import VOCABULARY


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_the_constants_are_those_of_the_diagnosis():
    assert (classes.SATURATED, classes.DOMINANT) == (bottleneck.SATURATED, bottleneck.DOMINANT)
    assert (classes.PREFIX_SHARES, classes.REPAIRABLE) == (SHARES, REPAIRABLE)


@pytest.mark.parametrize(
    ("model", "shares", "wanted"),
    [
        ("base", {"R": 3}, "mastered"),
        ("base", {"S": 3, "N": 4, "H": 3}, "reshaping"),
        ("base", {"G": 3}, "format"),
        ("base", {"F": 3}, "guided"),
        ("base", {"T": 3, "U": 3}, "support"),
        ("ckA", {"T": 3}, "mastered"),
        ("ckB", {"U": 3}, "mastered"),
        ("ckB", {"T": 3}, "support"),
    ],
)
def test_classes_of_the_strings(model, shares, wanted):
    frame = true_classes(resolve_model(f"zoo:{model}"), mix(shares))
    assert frame["class"].tolist() == [wanted] * len(frame)
    assert (frame["p_low"] <= frame["p_high"]).all()
    assert frame["lenient_p"].isna().tolist() == [wanted == "mastered"] * len(frame)
    assert frame["best_prefix_p"].notna().tolist() == [wanted in ("guided", "support")] * len(frame)
    assert true_bottleneck(frame) == ("saturated" if wanted == "mastered" else wanted)


def test_thresholds_decide():
    base, rows = resolve_model("zoo:base"), problems("N", 4)
    p = exact_success(base, rows)["p_low"].to_numpy()
    assert true_classes(base, rows, mastery=float(p.min()) * 0.99)["class"].eq("mastered").all()
    low = true_classes(base, rows, eps=float(np.sort(p)[1]) * 1.01)["class"]
    assert (low == "reshaping").tolist() == (p > np.sort(p)[1] * 1.01).tolist()


def test_what_cannot_be_decided_is_unclear(monkeypatch):
    monkeypatch.setattr(classes, "_LEVELS", ({"prune": 0.5, "width": 2},))
    frame = true_classes(resolve_model("zoo:base"), problems("S", 2))
    assert set(frame["class"]) == {"unclear"}
    assert true_bottleneck(frame) == "mixed"


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ({"mastered": 9, "support": 1}, "saturated"),
        ({"mastered": 5, "support": 3, "guided": 2}, "support"),
        ({"support": 5, "guided": 5}, "mixed"),
        ({"format": 6, "unclear": 4}, "format"),
        ({"format": 5, "unclear": 5}, "mixed"),
    ],
)
def test_bottleneck(counts, wanted):
    assert true_bottleneck(pd.DataFrame({"class": [name for name, n in counts.items() for _ in range(n)]})) == wanted


def test_prefixes_are_cut_as_the_ladder_cuts_them():
    row = problems("F", 1)[0]  # eight letters
    ids = VOCABULARY.encode(row.demos[0])
    assert [len(demo_prefix(row, VOCABULARY, share) or ()) for share in SHARES] == [2, 4, 6, 7]
    assert demo_prefix(row, VOCABULARY, 0.5) == tuple(ids[:4])
    own, direct = (demo_prefix(problems("S", 1)[0], VOCABULARY, 0.75, style) for style in ("own", "direct"))
    assert VOCABULARY.decode(own or ()) == "X|", "no part of the answer is given"
    assert direct is None, "a short bare answer is no trace"


def test_a_prefix_that_passes_is_not_given():
    """All but the closing bracket of [abcdef] passes leniently."""
    row = next(row for row in problems("G", 40) if len(row.demos[0]) == 8)
    given = row.demos[0][:-1]
    assert verify(given, row).lenient
    assert demo_prefix(row, VOCABULARY, 0.875) is None
    assert demo_prefix(row, VOCABULARY, 0.75) is not None


def test_success_after_each_prefix():
    rows = [*problems("F", 2), *problems("G", 1)]
    frame = after_prefixes(resolve_model("zoo:base"), rows)
    for i in range(2):
        p = frame.filter(like="p_low").iloc[i].to_numpy()
        assert np.allclose(p[1:], 0.3 ** np.array([4, 2, 1]), rtol=0.4)
        assert (np.diff(p) > 0).all()
    whole = exact_success(
        resolve_model("zoo:base"), rows[:1], response_prefix_ids=[demo_prefix(rows[0], VOCABULARY, 0.75) or ()]
    )
    assert whole["p_low"][0] == pytest.approx(frame["p_low@0.75"][0], rel=1e-4)
    assert np.isnan(frame["p_low@0.875"][2])


def test_mixtures():
    rows = mix({"S": 5, "T": 10, "R": 0}, seed=3)
    assert len({row.id for row in rows}) == 15
    families = [tag for row in rows for tag in row.tags if tag.startswith("family:")]
    assert (families.count("family:S"), families.count("family:T")) == (5, 10)
    assert families[:5] != ["family:S"] * 5
    assert mix({"S": 5, "T": 10}, seed=3) == rows != mix({"S": 5, "T": 10}, seed=4)
    with pytest.raises(UsageError, match="one world"):
        mix({})

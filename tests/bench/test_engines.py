"""The engine benchmark's own arithmetic: laws, limits, resuming, and what it must refuse to pass over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.engines import exact, report
from benchmarks.engines import limits as engines_limits
from benchmarks.engines.driver import Raw
from benchmarks.engines.models import MEAN_LENGTH, SPECIAL, Shape, make_model, make_work

SMALL = Shape("micro", 64, 2, 4, 2, 96, 300, "float32")


def test_chi_square_tells_a_wrong_law_from_the_right_one() -> None:
    law = {(i,): p for i, p in enumerate((0.5, 0.3, 0.15, 0.0499, 0.0001))}
    rng = np.random.default_rng(0)
    drawn = Counter((int(i),) for i in rng.choice(5, 5000, p=list(law.values())))
    assert exact.chi_square_p(drawn, law, 5000) > 0.01
    assert exact.chi_square_p(drawn, law | {(0,): 0.45, (1,): 0.35}, 5000) < 1e-6
    assert exact.chi_square_p(Counter({(9,): 1}), law, 1) == 0.0


def test_cut_law_by_hand() -> None:
    params = SimpleNamespace(temperature=1.0, top_k=3, top_p=0.8, min_p=0.0)
    law = exact.cut_law(np.log([0.5, 0.3, 0.15, 0.05]), params)
    np.testing.assert_allclose(law, [0.625, 0.375, 0, 0])
    params = SimpleNamespace(temperature=0.5, top_k=0, top_p=1.0, min_p=0.2)
    np.testing.assert_allclose(exact.cut_law(np.log([0.6, 0.3, 0.1]), params), [0.8, 0.2, 0])


def test_limit_of_a_sampling_job_by_hand() -> None:
    shape = Shape("s", 8, 1, 2, 1, 16, 100, "float32")
    assert shape.n_body == 8 * 8 + 8 * 8 + 2 * 8 * 4 + 3 * 8 * 16
    limits = {"peak_float32": 2.0, "bandwidth": 4.0}
    found = engines_limits.workload_seconds(shape, [5], [(2, 3 + 4, 9 + 16)], 2, limits)
    decoded, own = 2 + 3, (1 + 2) + (1 + 2 + 3)
    attention = 4 * 8
    flops = 2 * shape.n_body * 5 + 2 * 800 + attention * 25 / 2
    flops += decoded * 2 * (shape.n_body + 800) + attention * (decoded * 5 + own)
    kv = 2 * 1 * 4 * 4
    moved = kv * (5 + own) + kv * 5 * decoded / 2 + (shape.n_body + 800) * 4 * (decoded / 2 + 1)
    assert found["flops"] == flops and found["flop_s"] == flops / 2
    assert found["bytes"] == moved and found["byte_s"] == moved / 4


def test_interrupted_timings_go_on_and_other_settings_start_anew(tmp_path: Path) -> None:
    raw = Raw(tmp_path, "sampling", {"threads": 1})
    raw.add(contestant="a", repeat=0)
    with raw.path.open("a") as out:
        out.write('{"contestant": "b", "rep')  # killed while writing
    Raw(tmp_path, "sampling", {"threads": 1}).add(contestant="c", repeat=0)
    assert [row["contestant"] for row in Raw(tmp_path, "sampling", {"threads": 1}).rows] == ["a", "c"]
    assert Raw(tmp_path, "sampling", {"threads": 2}).rows == []
    raw = Raw(tmp_path, "sampling", {"threads": 2})
    raw.add(contestant="a", repeat=0)
    raw.done()
    assert Raw(tmp_path, "sampling", {"threads": 2}).rows == []


@pytest.mark.parametrize(("length", "wrong"), [(20.4, 0), (22.0, 1)])
def test_lengths_that_differ_are_refused(length: float, wrong: int) -> None:
    entries = [
        {"name": "hf engine", "mean_length": 20.0, "mean_length_se": 0.2},
        {"name": "vLLM", "mean_length": length, "mean_length_se": 0.2},
    ]
    parts = {"sampling": {"models": {"tiny": {"contestants": entries}}}}
    assert len(report.failures(parts)) == wrong


def test_made_model_stops_as_calibrated_and_never_draws_a_special_token(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from posttrain_diag.engines.contract import Prompt, SampleRequest
    from posttrain_diag.engines.hf.engine import load_hf_engine
    from posttrain_diag.engines.hf.load import quiet
    from posttrain_diag.types import SamplingParams

    with quiet():
        path = make_model(SMALL, tmp_path)
    work = make_work(SMALL, 4, 1)
    engine = load_hf_engine(str(path), device="cpu")
    prompts = [Prompt(text=text) for text in work.texts]
    assert [list(engine.prompt_ids(prompt)) for prompt in prompts] == work.prompts
    requests = [
        SampleRequest(str(i), prompt, tuple(range(100)), tuple(range(1000 * i, 1000 * i + 100)))
        for i, prompt in enumerate(prompts)
    ]
    draws = list(engine.sample(requests, SamplingParams(max_new_tokens=64)))
    assert abs(np.mean([draw.n_tokens for draw in draws]) - MEAN_LENGTH) < 3
    assert not {t for draw in draws for t in draw.token_ids[:-1]} & set(range(len(SPECIAL)))

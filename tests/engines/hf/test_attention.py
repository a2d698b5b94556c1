"""Attention over a shared prefix and own positions equals attention over both together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from posttrain_diag.engines.hf import pack as hf_pack
from posttrain_diag.engines.hf.attention import PromptGroups, attend, with_prefix


def written_down(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.softmax(query @ key.transpose(-1, -2) * scale, -1) @ value


@pytest.mark.parametrize("order", [[0, 0, 1, 1, 2], [2, 0, 1, 0, 2]], ids=["in runs", "mixed"])
def test_prefix_and_own_positions_merge_exactly(order: list[int]) -> None:
    torch.manual_seed(0)
    heads, width, dim, scale = 2, 3, 8, 0.3
    query = torch.randn(5, heads, width, dim)
    own = [torch.randn(5, heads, 6, dim) for _ in range(2)]
    lengths = torch.tensor([1, 6, 2, 4, 3])
    mask = torch.where(torch.arange(6)[None] < lengths[:, None], 0.0, -torch.inf)[:, None, None]
    prompts = [[torch.randn(1, heads, size, dim) for _ in range(2)] for size in (4, 1, 9)]
    groups = PromptGroups.of(np.array(order), torch.device("cpu"))
    prefix = [(prompts[p][0], prompts[p][1]) for p, _, _ in groups.runs]
    found = with_prefix(attend(query, *own, scale, mask=mask), query, groups, prefix, scale)
    for row, prompt in enumerate(order):
        n = int(lengths[row])
        key, value = (torch.cat((prompts[prompt][i][0], own[i][row, :, :n]), 1) for i in (0, 1))
        assert torch.allclose(found[row], written_down(query[row], key, value, scale), atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_the_formula_used_on_gpus_equals_the_cpu_kernel(causal: bool) -> None:
    torch.manual_seed(1)
    query, key, value = (torch.randn(3, 2, 7, 8) for _ in range(3))
    mask = None if causal else torch.where(torch.rand(3, 1, 1, 7) < 0.8, 0.0, -torch.inf)
    if mask is not None:
        mask[..., 0] = 0.0
    kernel = attend(query, key, value, 0.4, mask=mask, causal=causal)
    formula = attend(*(x.to("meta") for x in (query, key, value)), 0.4, causal=causal)  # shapes of the other branch
    assert [part.shape for part in formula] == [part.shape for part in kernel]
    scores = query @ key.transpose(-1, -2) * 0.4
    if causal:
        scores = scores.masked_fill(torch.ones(7, 7, dtype=torch.bool).triu(1), -torch.inf)
    if mask is not None:
        scores = scores + mask
    assert torch.allclose(kernel[0], torch.softmax(scores, -1) @ value, atol=1e-5)
    assert torch.allclose(kernel[1], scores.logsumexp(-1), atol=1e-5)


def bf16_linear() -> torch.nn.Sequential:
    class Model(torch.nn.Sequential):
        device = torch.device("cpu")

    torch.manual_seed(2)
    return Model(torch.nn.Linear(512, 512), torch.nn.Linear(8, 8)).to(torch.bfloat16)


@pytest.mark.skipif(not hf_pack.can_pack(), reason="this CPU has no AVX-512")
def test_large_layers_are_packed_and_compute_the_same() -> None:
    model = bf16_linear()
    rows = torch.randn(5, 512).to(torch.bfloat16)
    plain = model[0](rows)
    assert hf_pack.packed_bytes(model) == 512 * 512 * 2
    assert hf_pack.pack(model) == 1
    assert "forward" in model[0].__dict__ and "forward" not in model[1].__dict__
    assert torch.allclose(model[0](rows).float(), plain.float(), atol=0.02)
    hf_pack.unpack(model)
    assert torch.equal(model[0](rows), plain)


def test_a_cpu_without_the_instructions_computes_with_plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bf16_linear()
    monkeypatch.setattr(hf_pack, "can_pack", lambda: False)
    assert hf_pack.pack(model) == 0
    assert "forward" not in model[0].__dict__

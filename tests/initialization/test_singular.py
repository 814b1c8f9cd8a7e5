"""The truncated decomposition: every way agrees with the full one, and the orientation is fixed."""

from __future__ import annotations

import logging

import pytest
import torch

from sft.errors import ModelError
from sft.initialization import singular
from sft.initialization.singular import principal_triplets


def matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (600, 520)])
@pytest.mark.parametrize("rank", [5, 40])
def test_the_best_approximation(shape: tuple[int, int], rank: int) -> None:
    weight = matrix(*shape)
    left, values, right = principal_triplets(weight, rank)
    u, s, v = torch.linalg.svd(weight.double(), full_matrices=False)
    assert torch.allclose(values.double(), s[:rank], rtol=1e-5)
    best = (u[:, :rank] * s[:rank]) @ v[:rank]
    missed = (weight.double() - (left * values).double() @ right.double()).norm()
    assert missed <= (weight.double() - best).norm() * (1 + 1e-6) + 1e-5
    assert torch.allclose(right @ right.T, torch.eye(rank), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_iteration_serves_large_ones_and_agrees_on_orientation(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    weight = matrix(560, 530, seed=1).to(dtype)
    weight[:8] *= 3
    monkeypatch.setattr(singular, "SMALL", 600)
    full = principal_triplets(weight, 4)
    monkeypatch.setattr(singular, "SMALL", 512)
    monkeypatch.setattr(singular, "_full", None)  # would fail if it were taken
    found = principal_triplets(weight, 4)
    assert torch.allclose(full.right, found.right, atol=1e-3)
    assert torch.allclose(full.left, found.left, atol=1e-3)
    largest = full.right.gather(1, full.right.abs().argmax(dim=1, keepdim=True))
    assert bool((largest > 0).all())
    assert found.right.dtype == torch.float32


def test_where_the_iteration_fails_the_full_one_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(singular, "block_krylov", lambda matrix, rank: None)
    weight = matrix(520, 530)
    with caplog.at_level(logging.INFO):
        values = principal_triplets(weight, 4).values
    assert torch.allclose(values, torch.linalg.svdvals(weight)[:4], rtol=1e-5)
    assert "520 x 530 weight did not converge" in caplog.text


def test_a_rank_beyond_the_weights_is_refused() -> None:
    with pytest.raises(ModelError, match=r"expected a rank of 1 to 8 for a 8 x 20 weight, got 9"):
        principal_triplets(matrix(8, 20), 9)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_weight_is_refused(broken: float) -> None:
    weight = matrix(8, 20)
    weight[3, 3] = broken
    with pytest.raises(ModelError, match="NaN"):
        principal_triplets(weight, 2)


def test_large_numbers_whose_sum_is_too_large_are_no_broken_weight() -> None:
    right = principal_triplets(torch.full((8, 20), 3e38), 1).right
    assert torch.allclose(right, torch.full((1, 20), 20**-0.5), atol=1e-6)

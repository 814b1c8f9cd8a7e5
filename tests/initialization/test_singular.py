"""The truncated decomposition: both roads agree with the full one, and signs are fixed."""

from __future__ import annotations

import pytest
import torch

from sft.errors import ModelError
from sft.initialization import singular
from sft.initialization.singular import principal_triplets


def matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
@pytest.mark.parametrize("small", [0, 512])
def test_both_roads_give_the_best_approximation(
    shape: tuple[int, int], small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singular, "SMALL", small)
    weight = matrix(*shape)
    left, values, right = principal_triplets(weight, 5)
    u, s, v = torch.linalg.svd(weight.double(), full_matrices=False)
    assert torch.allclose(values.double(), s[:5], atol=1e-5)
    assert torch.allclose((left * values) @ right, ((u[:, :5] * s[:5]) @ v[:5]).float(), atol=1e-4)
    assert torch.allclose(right @ right.T, torch.eye(5), atol=1e-5)


def test_lanczos_is_taken_for_large_ones_and_agrees_on_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = matrix(30, 50, seed=1)
    full = principal_triplets(weight, 4)
    monkeypatch.setattr(singular, "SMALL", 0)
    monkeypatch.setattr(singular, "_full", None)  # would fail if it were taken
    lanczos = principal_triplets(weight, 4)
    assert torch.allclose(full.right, lanczos.right, atol=1e-4)
    assert torch.allclose(full.left, lanczos.left, atol=1e-4)
    largest = full.right.gather(1, full.right.abs().argmax(dim=1, keepdim=True))
    assert bool((largest > 0).all())


def test_a_rank_beyond_the_weights_is_refused() -> None:
    with pytest.raises(ModelError, match=r"rank 9 is more than a 8 x 20 weight has \(8\)"):
        principal_triplets(matrix(8, 20), 9)


def test_a_broken_weight_is_refused() -> None:
    weight = matrix(8, 20)
    weight[3, 3] = float("nan")
    with pytest.raises(ModelError, match="NaN"):
        principal_triplets(weight, 2)

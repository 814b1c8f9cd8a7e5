"""`umap`: similar input features are near each other; deterministic; clear errors."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from sft.errors import MissingPackageError, ModelError
from sft.initialization.initializers import Initializer
from sft.initialization.initializers import umap as module
from sft.initialization.initializers.umap import nearest, umap, umap_fast


def clustered(clusters: int = 3, members: int = 12, outputs: int = 20) -> nn.Linear:
    """A layer whose input features fall into clear groups of equal use."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(outputs, clusters, generator=generator) * 5
    layer = nn.Linear(clusters * members, outputs, bias=False)
    noise = torch.randn(outputs, clusters * members, generator=generator) * 0.1
    layer.weight.data = centres.repeat_interleave(members, dim=1) + noise
    return layer


@pytest.mark.long
def test_groups_stay_together_rows_are_scaled_and_it_is_deterministic() -> None:
    pytest.importorskip("umap")
    layer = clustered()
    made = umap(layer, 2, torch.float32)
    a = made["lora_A"]
    assert a.shape == (2, 36) and not made["lora_B"].count_nonzero() and made["lora_B"].shape == (20, 2)
    assert torch.allclose(a.mean(dim=1), torch.zeros(2), atol=1e-6)
    default = nn.init.kaiming_uniform_(torch.empty(64, 2048), a=5**0.5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(a.norm(dim=1), default.norm(dim=1).mean().expand(2), rtol=0.02)
    groups = a.T.reshape(3, 12, 2)
    within = (groups - groups.mean(dim=1, keepdim=True)).norm(dim=2).mean()
    between = torch.pdist(groups.mean(dim=1)).min()
    assert within < between / 3
    assert torch.equal(umap(layer, 2, torch.float32)["lora_A"], a)
    for rank in (35, 40):  # more dimensions than UMAP's spectral start allows
        wide = umap(layer, rank, torch.float32)["lora_A"]
        assert wide.shape == (rank, 36) and bool(torch.isfinite(wide).all())
    fast = umap_fast(layer, 2, torch.float32)["lora_A"]
    assert torch.equal(umap_fast(layer, 2, torch.float32)["lora_A"], fast) and not torch.equal(fast, a)
    groups = fast.T.reshape(3, 12, 2)
    assert (groups - groups.mean(dim=1, keepdim=True)).norm(dim=2).mean() < torch.pdist(groups.mean(dim=1)).min() / 3
    for rank in (24, 35):
        wide = umap_fast(layer, rank, torch.float32)["lora_A"]
        assert wide.shape == (rank, 36) and bool(torch.isfinite(wide).all())
    few = umap(nn.Linear(4, 8), 2, torch.float32)["lora_A"]
    assert few.shape == (2, 4) and bool(torch.isfinite(few).all())


@pytest.mark.parametrize("initializer", [umap, umap_fast])
def test_too_few_inputs_are_refused(initializer: Initializer) -> None:
    with pytest.raises(ModelError, match="at least 4 input features; the layer has 3"):
        initializer(nn.Linear(3, 8), 2, torch.float32)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingPackageError, match="pip install umap-learn"):
        umap(nn.Linear(8, 8), 2, torch.float32)


def test_the_nearest_are_found_by_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    points = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    points[3] = points[11]  # of two equal points, each comes first for itself
    numbers, distances = nearest(points, 4)
    apart = torch.cdist(points.double(), points.double()).float()  # of like points zero only so
    assert torch.equal(numbers[:, 0], torch.arange(20))
    assert torch.allclose(distances, apart.sort(dim=1).values[:, :4], atol=3e-3)
    assert torch.allclose(apart.gather(1, numbers), distances, atol=3e-3)

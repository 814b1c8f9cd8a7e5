"""Initial matrices on disk: found again for the same weight only, and never in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sft.initialization import cache
from sft.initialization.cache import Matrices, cache_folder, cached

WEIGHT = torch.arange(12.0).view(3, 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "SMALLEST", 12)
    return cache_folder()


def counted() -> tuple[list[int], Callable[[], Matrices]]:
    calls: list[int] = []

    def make() -> Matrices:
        calls.append(1)
        return {"lora_A": torch.full((2, 4), float(len(calls))), "lora_B": torch.zeros(3, 2)}

    return calls, make


def test_found_again_for_the_same_weight_only(folder: Path) -> None:
    calls, make = counted()
    first = cached(WEIGHT, "pca", 2, torch.float32, make)
    again = cached(WEIGHT.clone(), "pca", 2, torch.float32, make)
    assert len(calls) == 1 and torch.equal(first["lora_A"], again["lora_A"])
    other = WEIGHT.clone()
    other[2, 3] += 1
    for weight, name, rank, dtype in (
        (other, "pca", 2, torch.float32),
        (WEIGHT, "pissa", 2, torch.float32),
        (WEIGHT, "pca", 3, torch.float32),
        (WEIGHT, "pca", 2, torch.bfloat16),
        (WEIGHT.T, "pca", 2, torch.float32),
    ):
        cached(weight, name, rank, dtype, make)
    assert len(calls) == 6
    assert len(list(folder.iterdir())) == 6


def test_a_broken_file_is_made_anew(folder: Path) -> None:
    calls, make = counted()
    cached(WEIGHT, "pca", 2, torch.float32, make)
    next(folder.iterdir()).write_bytes(b"half")
    cached(WEIGHT, "pca", 2, torch.float32, make)
    cached(WEIGHT, "pca", 2, torch.float32, make)
    assert len(calls) == 2


def test_small_weights_are_not_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SMALLEST", 13)
    cached(WEIGHT, "pca", 2, torch.float32, counted()[1])
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "lora_A" in cached(WEIGHT, "pca", 2, torch.float32, counted()[1])
    assert "not cached" in caplog.text

"""Cached initial matrices: used for the same weight only, and errors of the cache are harmless."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from filelock import Timeout

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


@pytest.mark.parametrize("damage", ["cut", "a bit of the data", "a shape", "no checksum"])
def test_a_corrupt_file_is_computed_again(folder: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    calls, make = counted()
    cached(WEIGHT, "pca", 2, torch.float32, make)
    file = next(folder.iterdir())
    whole = file.read_bytes()
    file.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "a bit of the data": whole[:-1] + bytes([whole[-1] ^ 1]),
            "a shape": whole.replace(b"[3,2]", b"[2,3]"),
            "no checksum": whole.replace(b'"xxh3"', b'"none"'),
        }[damage]
    )
    assert file.read_bytes() != whole
    assert cached(WEIGHT, "pca", 2, torch.float32, make)["lora_A"][0, 0] == 2
    cached(WEIGHT, "pca", 2, torch.float32, make)
    assert len(calls) == 2
    assert ("is corrupt; computing the initial matrices again" in caplog.text) is (damage != "cut")


def test_concurrent_runs_compute_them_once(folder: Path) -> None:
    calls, make = counted()

    def slowly() -> Matrices:
        time.sleep(0.2)
        return make()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: cached(WEIGHT, "pca", 2, torch.float32, slowly), range(4)))
    assert len(calls) == 1
    assert all(torch.equal(one["lora_A"], made[0]["lora_A"]) for one in made)
    assert [file.suffix for file in folder.iterdir()] == [".safetensors"]


def test_a_killed_run_leaves_no_lock_behind(folder: Path) -> None:
    """The lock file stays, the lock does not."""
    code = (
        "import os, torch; from sft.initialization import cache; cache.SMALLEST = 12\n"
        "cache.cached(torch.arange(12.0).view(3, 4), 'pca', 2, torch.float32, lambda: os._exit(9))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert [file.suffix for file in folder.iterdir()] == [".lock"]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(cached, WEIGHT, "pca", 2, torch.float32, counted()[1]).result(60)
    assert [file.suffix for file in folder.iterdir()] == [".safetensors"]


@pytest.mark.parametrize("obstacle", [Timeout("x"), OSError("no locks here"), NotImplementedError()])
def test_without_a_lock_every_run_makes_them(monkeypatch: pytest.MonkeyPatch, obstacle: Exception) -> None:
    def refuse(*args: object, **named: object) -> None:
        raise obstacle

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    calls, make = counted()
    cached(WEIGHT, "pca", 2, torch.float32, make)
    cached(WEIGHT, "pca", 2, torch.float32, make)
    assert len(calls) == 1


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

"""Measure initialisers on a 4096 x 4096 layer at rank 16, on one thread: against full decompositions, PEFT's
approximation, and their own cache.

    python scripts/bench/init.py [--json FILE] [--quick] [--size 4096] [--no-umap]

There are two spectra: one with a gap after the sixteenth value, and the flat one of a random Gaussian matrix. Times are
medians of five runs of the whole initialiser, including reading the weight. `torch.linalg.svd` in float32 runs once per
spectrum. Angles are between the space of A's rows and a float64 reference by ARPACK, to machine precision. umap is
timed on a third, slowly falling spectrum, after compilation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from record import PACKAGES, write_section
from torch import nn

RANK = 16
REPEATS = 5
NEIGHBOURS = 15


def random_matrix(size: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(size, columns, generator=torch.Generator().manual_seed(seed))


def planted(size: int, values: torch.Tensor, noise: float) -> torch.Tensor:
    """Return a matrix with these largest singular values, and noise below them."""
    left = torch.linalg.qr(random_matrix(size, len(values), 1)).Q
    right = torch.linalg.qr(random_matrix(size, len(values), 2)).Q
    return (left * values) @ right.T + noise * random_matrix(size, size, 3)


def spectra(size: int) -> dict[str, torch.Tensor]:
    """Return the two matrices. Noise of n x n has singular values up to 2 sqrt(n)."""
    edge = 2 * size**0.5
    gap = torch.cat([torch.linspace(3.0, 2.0, RANK), torch.linspace(1.5, 0.9, 48)]) * edge * 0.2
    return {"gap": planted(size, gap, 0.1), "flat": random_matrix(size, size, 0)}


def layer_of(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(*reversed(weight.shape), bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def seconds(work: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def reference(weight: torch.Tensor) -> torch.Tensor:
    """Return the top right singular vectors, float64 [in, r]."""
    import numpy as np
    from scipy.sparse.linalg import svds

    start = np.random.default_rng(0).standard_normal(min(weight.shape))
    _, values, right = svds(weight.double().numpy(), k=RANK, v0=start)
    return torch.from_numpy(right[np.argsort(-values)].T.copy())


def sine(rows: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the sine of the largest angle between the space of rows [r, in] and of orthonormal columns [in, r]."""
    basis = torch.linalg.qr(rows.double().T).Q
    return float(f"{torch.linalg.matrix_norm(basis - wanted @ (wanted.T @ basis), 2).item():.2g}")


def measure_ours(weights: dict[str, torch.Tensor], full: dict[str, float], truth: dict[str, Any]) -> dict[str, Any]:
    """Measure pca and pissa: time against the full decomposition, angles, and the second run from the cache."""
    from sft.initialization.cache import cached
    from sft.initialization.dequantize import dequantize
    from sft.initialization.initializers.pca import pca
    from sft.initialization.initializers.pissa import pissa

    report: dict[str, Any] = {}
    for name, initializer in (("pca", pca), ("pissa", pissa)):
        entry: dict[str, Any] = {}
        for spectrum, weight in weights.items():
            layer = layer_of(weight)
            taken = seconds(lambda: initializer(layer, RANK, torch.float32), REPEATS)  # noqa: B023 - run at once
            entry |= {
                f"seconds_{spectrum}": round(taken, 3),
                f"vs_full_svd_{spectrum}": round(full[spectrum] / taken, 1),
            }
            entry[f"sin_angle_{spectrum}"] = sine(initializer(layer, RANK, torch.float32)["lora_A"], truth[spectrum])

        def again() -> Any:
            return cached(dequantize(layer), name, RANK, torch.float32, lambda: initializer(layer, RANK, torch.float32))  # noqa: B023

        again()
        entry["cached_s"] = round(seconds(again, REPEATS), 4)
        report[name] = entry
    return report


def measure_peft(weights: dict[str, torch.Tensor], full: dict[str, float], truth: dict[str, Any]) -> dict[str, Any]:
    """Measure PEFT's approximations."""
    from peft import LoraConfig

    from sft.initialization.peft_own import LAYER, on_copies, tree

    report: dict[str, Any] = {}
    for init in ("pissa_niter_4", "pissa_niter_16"):
        entry: dict[str, Any] = {}
        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=[LAYER], init_lora_weights=init)
        for spectrum, weight in weights.items():
            torch.manual_seed(0)
            taken = seconds(lambda: on_copies(tree({LAYER: weight}), config), 3)  # noqa: B023
            rows = on_copies(tree({LAYER: weight}), config)[LAYER]["lora_A"]
            entry |= {
                f"seconds_{spectrum}": round(taken, 3),
                f"vs_full_svd_{spectrum}": round(full[spectrum] / taken, 1),
            }
            entry[f"sin_angle_{spectrum}"] = sine(rows, truth[spectrum])
        report[init] = entry
    return report


def measure_umap(size: int) -> dict[str, Any]:
    """Measure both variants of umap, and how much their neighbourhoods overlap."""
    from sklearn.manifold import trustworthiness

    from sft.initialization.initializers.umap import umap, umap_fast

    falling = planted(size, 0.5 * size**0.5 * torch.arange(1, 257) ** -0.4, 0.01)
    layer, points = layer_of(falling), falling.T.numpy()
    umap(layer_of(falling[:64, :256].contiguous()), 2, torch.float32)  # compiles
    report: dict[str, Any] = {}
    near = []
    for name, initializer in (("", umap), ("fast_", umap_fast)):
        start = time.perf_counter()
        embedded = initializer(layer, RANK, torch.float32)["lora_A"].T.numpy()
        report[f"{name}seconds"] = round(time.perf_counter() - start, 1)
        report[f"{name}trustworthiness"] = round(float(trustworthiness(points, embedded, n_neighbors=NEIGHBOURS)), 3)
        near.append(neighbours(embedded))
    shared = sum(len(set(entry) & set(other)) for entry, other in zip(*near, strict=True))
    return report | {"neighbour_overlap": round(shared / near[0].size, 3)}


def neighbours(points: Any) -> Any:
    from sklearn.neighbors import NearestNeighbors

    indices = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(points).kneighbors(points, return_distance=False)
    return indices[:, 1:]


def table(report: dict[str, Any]) -> list[str]:
    """Return the figures as Markdown."""
    lines = [
        "| | seconds: gap, flat | x full SVD: gap, flat | sin of the largest angle: gap, flat | from the cache |",
        "| --- " * 5 + "|",
    ]
    for name in ("full_svd", "pca", "pissa", "pissa_niter_4", "pissa_niter_16"):
        entry = report[name]
        pairs = [
            ", ".join(str(entry.get(f"{key}_{spectrum}", "1")) for spectrum in ("gap", "flat"))
            for key in ("seconds", "vs_full_svd", "sin_angle")
        ]
        cached = f"{entry['cached_s']} s" if "cached_s" in entry else "-"
        lines.append(f"| {name.replace('full_svd', 'torch.linalg.svd')} | {' | '.join(pairs)} | {cached} |")
    lines += [
        "",
        f"One {report['size']} x {report['size']} layer in float32, rank {RANK}, one thread; the whole initialiser, "
        f"medians of {REPEATS} (PEFT's: 3; the full decomposition: once for each spectrum, all in the same run). Gap: "
        "the sixteenth value is 1.33 times the next; flat: a random Gaussian matrix, whose values lie 0.1 % apart. "
        "Angles: of the space of A's rows, against a float64 reference. From the cache: hash of the weight included.",
    ]
    if (entry := report.get("umap")) is not None:
        lines += [
            "",
            f"umap: {entry['seconds']} s, umap_fast: {entry['fast_seconds']} s (after compiling, which takes some 20 s "
            f"in each process; slowly falling spectrum). The points' neighbourhoods: trustworthiness "
            f"{entry['trustworthiness']} and {entry['fast_trustworthiness']}; of the {NEIGHBOURS} nearest in one "
            f"embedding {entry['neighbour_overlap']:.0%} are among those in the other.",
        ]
    return lines


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """Return the figures for `--json`; the ratio is for the spectrum with a gap."""
    out: dict[str, Any] = {}
    for name in ("pca", "pissa"):
        entry = report[name]
        out[name] = {"vs_full_svd": entry["vs_full_svd_gap"]} | {
            key: entry[key] for key in ("sin_angle_gap", "sin_angle_flat", "cached_s")
        }
    if "umap" in report:
        out["umap"] = {key: report["umap"][key] for key in ("seconds", "fast_seconds", "neighbour_overlap")}
    return out


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a layer of 1024 x 1024; not written to RESULTS.md")
    parser.add_argument("--size", type=int, default=4096, help="rows and columns of the layer")
    parser.add_argument("--no-umap", action="store_true", help="leave out umap")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = 1024 if options.quick else options.size
    weights = spectra(size)
    truth = {name: reference(weight) for name, weight in weights.items()}
    full: dict[str, float] = {}
    report: dict[str, Any] = {"size": size, "full_svd": {}}
    for name, weight in weights.items():
        start = time.perf_counter()
        _, _, right = torch.linalg.svd(weight)
        full[name] = time.perf_counter() - start
        report["full_svd"] |= {
            f"seconds_{name}": round(full[name], 1),
            f"sin_angle_{name}": sine(right[:RANK], truth[name]),
        }
        print(f"torch.linalg.svd, {name}: {full[name]:.1f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        report |= measure_ours(weights, full, truth)
    report |= measure_peft(weights, full, truth)
    if not options.no_umap:
        report["umap"] = measure_umap(size)
    print("\n".join(table(report)))
    if options.json:
        options.json.write_text(json.dumps(figures(report), indent=2) + "\n", encoding="utf-8")
    if not options.quick and options.size == 4096 and not options.no_umap:
        write_section("Initialisers", table(report), (*PACKAGES, "scipy", "umap-learn"))


if __name__ == "__main__":
    main()

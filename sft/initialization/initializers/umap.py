"""`umap`: A puts input features with similar weights near each other; B is zero. `umap_fast`: faster, less precise.

Each input feature is a column of W, a point in R^out. UMAP (McInnes et al. 2018, arXiv 1802.03426) embeds these points
into r dimensions, which become A's rows, centred and scaled to the norms of LoRA's default initialisation.

Shapes: P points, D dimensions, C points of a chunk.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sft.errors import MissingPackageError, ModelError
from sft.initialization.dequantize import dequantize

STATE = 0  # seed of UMAP: the matrices depend on the weights alone
NEIGHBOURS = 15
FEWEST_POINTS = 4
FAST_ROUNDS = 100  # UMAP's default is 500, and 200 for more than 10,000 points
CHUNK = 1024  # points whose distances to all others are computed at once
DEFAULT_NORM = 3**-0.5  # of a row of LoRA's default A: `in` numbers uniform within 1/sqrt(in)


def umap(layer: nn.Module, rank: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return A = the UMAP embedding of W's columns [r, in], rows centred and of norm 1/sqrt(3); B = 0 [out, r].

    Raises:
        MissingPackageError: umap-learn is not installed.
        ModelError: a layer that is not linear, or has fewer than four inputs.
    """
    weight = _weight(layer)
    return _matrices(_embed(weight.T, rank, {}), weight, dtype)


def umap_fast(layer: nn.Module, rank: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return matrices as `umap`, with fewer epochs and an exact search for neighbours.

    It runs a fifth of the epochs (half for more than 10,000 points). Matrix products find all nearest neighbours, while
    UMAP's search among more than 4096 points misses a few.

    Raises:
        MissingPackageError: umap-learn is not installed.
        ModelError: a layer that is not linear, or has fewer than four inputs.
    """
    weight = _weight(layer)
    near = nearest(weight.T.float(), min(NEIGHBOURS, weight.shape[1] - 1))
    settings = {"n_epochs": FAST_ROUNDS, "precomputed_knn": tuple(part.cpu().numpy() for part in near)}
    return _matrices(_embed(weight.T, rank, settings), weight, dtype)


def nearest(points_PD: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return indices and distances [P, count] of each point's nearest points; the first is the point itself."""
    squares_P = points_PD.square().sum(dim=1)
    indices, distances = [], []
    for begin in range(0, len(points_PD), CHUNK):
        chunk_CD = points_PD[begin : begin + CHUNK]
        apart_CP = squares_P[begin : begin + CHUNK, None] + squares_P - 2 * chunk_CD @ points_PD.T
        apart_CP[
            torch.arange(len(chunk_CD)), torch.arange(begin, begin + len(chunk_CD))
        ] = -1.0  # before its duplicates
        least, nearest_CK = apart_CP.topk(count, largest=False)
        indices.append(nearest_CK)
        distances.append(least.clamp_min(0).sqrt())
    return torch.cat(indices), torch.cat(distances)


def _weight(layer: nn.Module) -> torch.Tensor:
    weight = dequantize(layer)
    if (points := weight.shape[1]) < FEWEST_POINTS:
        raise ModelError(f"UMAP needs at least {FEWEST_POINTS} input features; the layer has {points}")
    return weight


def _matrices(embedded: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the matrices from an embedding [in, r]."""
    rows = embedded.to(torch.float64).T
    centred = rows - rows.mean(dim=1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    return {
        "lora_A": (centred / norms * DEFAULT_NORM).to(dtype).contiguous(),
        "lora_B": torch.zeros(weight.shape[0], len(rows), dtype=dtype),
    }


def _embed(points: torch.Tensor, rank: int, settings: Mapping[str, Any]) -> torch.Tensor:
    """Return the embedding [in, r] of points [in, out]; `settings` are arguments of UMAP."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numba and UMAP warn of their own internals
            from umap import UMAP
    except ModuleNotFoundError as error:
        if error.name != "umap":
            raise
        raise MissingPackageError('the initialiser "umap"', "umap-learn") from None

    count = len(points)
    reducer = UMAP(
        n_components=rank,
        n_neighbors=min(NEIGHBOURS, count - 1),
        # The spectral start needs more points than dimensions; otherwise the start is random with a seed.
        init="spectral" if rank + 1 < count else "random",
        random_state=STATE,
        n_jobs=1,  # one thread: deterministic
        **settings,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(reducer.fit_transform(points.to(torch.float32).cpu().contiguous().numpy()))

"""`umap`: A places input features near each other that the layer uses alike; B is zero.

Each input feature is a column of W, a point in R^out. UMAP (McInnes et al. 2018, arXiv 1802.03426) embeds these points
into r dimensions, which become A's rows, centred and scaled to the norms of LoRA's default initialisation.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from sft.errors import MissingPackageError, ModelError
from sft.initialization.dequantize import dequantize

STATE = 0  # UMAP's own randomness: the matrices are a function of the weights alone
NEIGHBOURS = 15
FEWEST_POINTS = 4
DEFAULT_NORM = 3**-0.5  # of a row of LoRA's default A: `in` numbers uniform within 1/sqrt(in)


def umap(layer: nn.Module, rank: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A = the UMAP embedding of W's columns [r, in], rows centred and of norm 1/sqrt(3); B = 0 [out, r].

    Raises:
        MissingPackageError: umap-learn is not installed.
        ModelError: a layer that is not linear, or has fewer than four inputs.
    """
    weight = dequantize(layer)
    points = weight.shape[1]
    if points < FEWEST_POINTS:
        raise ModelError(f"UMAP needs at least {FEWEST_POINTS} input features; the layer has {points}")
    embedded = torch.from_numpy(_embed(weight, rank)).to(torch.float64).T
    centred = embedded - embedded.mean(dim=1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    return {
        "lora_A": (centred / norms * DEFAULT_NORM).to(dtype).contiguous(),
        "lora_B": torch.zeros(weight.shape[0], rank, dtype=dtype),
    }


def _embed(weight: torch.Tensor, rank: int):  # type: ignore[no-untyped-def]  # numpy [in, r]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numba and UMAP warn of their own internals
            from umap import UMAP
    except ModuleNotFoundError as error:
        if error.name != "umap":
            raise
        raise MissingPackageError('the initialiser "umap"', "umap-learn") from None

    points = weight.T.to(torch.float32).cpu().contiguous().numpy()
    count = points.shape[0]
    reducer = UMAP(
        n_components=rank,
        n_neighbors=min(NEIGHBOURS, count - 1),
        # The spectral start needs more points than dimensions; with fewer, a seeded random start does.
        init="spectral" if rank + 1 < count else "random",
        random_state=STATE,
        n_jobs=1,  # one thread: the same embedding every time
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return reducer.fit_transform(points)

"""The largest singular triplets of a matrix, exactly. Knows nothing of layers or adapters.

PEFT's randomised iteration finds another subspace when singular values lie close together, as they do in trained
weights; here a library's full decomposition serves small matrices, its Lanczos iteration (ARPACK) large ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from sft.errors import ModelError

SMALL = 512  # up to this many rows or columns the full decomposition is as fast


class Triplets(NamedTuple):
    """The top-r triplets of W [m, n], largest first, float32 on the CPU."""

    left: torch.Tensor  # [m, r]
    values: torch.Tensor  # [r]
    right: torch.Tensor  # [r, n]


def principal_triplets(weight: torch.Tensor, rank: int) -> Triplets:
    """The `rank` largest singular triplets of `weight` [m, n].

    Signs, which a decomposition leaves open, are set so that the largest entry of each right vector is positive.

    Raises:
        ModelError: a rank beyond the smaller side, or a weight that holds NaN or infinities.
    """
    matrix = weight.detach().to("cpu", torch.float64)
    smaller = min(matrix.shape)
    if not 1 <= rank <= smaller:
        raise ModelError(f"rank {rank} is more than a {matrix.shape[0]} x {matrix.shape[1]} weight has ({smaller})")
    if not torch.isfinite(matrix).all():
        raise ModelError("the weight holds NaN or infinite numbers")
    left, values, right = _full(matrix, rank) if smaller <= SMALL or 4 * rank > smaller else _lanczos(matrix, rank)
    largest = right.abs().argmax(dim=1, keepdim=True)
    signs = torch.where(right.gather(1, largest) < 0, -1.0, 1.0).to(right)
    return Triplets((left * signs.T).float(), values.float(), (right * signs).float())


def _full(matrix: torch.Tensor, rank: int) -> Triplets:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return Triplets(left[:, :rank], values[:rank], right[:rank])


def _lanczos(matrix: torch.Tensor, rank: int) -> Triplets:
    import numpy as np
    from scipy.sparse.linalg import svds

    start = np.random.default_rng(0).standard_normal(min(matrix.shape))  # fixed, so that runs agree
    left, values, right = svds(matrix.numpy(), k=rank, v0=start, solver="arpack")
    order = np.argsort(-values)
    return Triplets(*(torch.from_numpy(np.ascontiguousarray(x)) for x in (left[:, order], values[order], right[order])))

"""Compute the largest singular triplets of a matrix exactly.

PEFT's randomised iteration returns another subspace when singular values are close, as in trained weights. Here, small
matrices use a full decomposition, and large ones a block Krylov iteration with a residual check.
"""

from __future__ import annotations

import torch

from sft.errors import ModelError
from sft.initialization.krylov import Triplets, block_krylov
from sft.log import get_logger

SMALL = 512  # up to this many rows or columns the full decomposition is as fast

logger = get_logger(__name__)


@torch.no_grad()
def principal_triplets(weight: torch.Tensor, rank: int) -> Triplets:
    """Return the `rank` largest singular triplets of `weight` [m, n], in float32.

    A decomposition leaves the orientation open: here, the largest entry of each right vector is positive.
    Large weights are decomposed on their device.

    Raises:
        ModelError: `rank` exceeds the smaller side, or the weight contains NaN or infinities.
    """
    matrix, smaller = weight.detach(), min(weight.shape)
    if not 1 <= rank <= smaller:
        raise ModelError(
            f"expected a rank of 1 to {smaller} for a {matrix.shape[0]} x {matrix.shape[1]} weight, got {rank}"
        )
    if not bool(torch.isfinite(matrix.sum())) and not bool(torch.isfinite(matrix).all()):  # the sum is faster
        raise ModelError("the weight contains NaN or infinite values")
    if smaller <= SMALL:
        left, values, right = _full(matrix.cpu().double(), rank)
    elif 4 * rank > smaller:
        left, values, right = _full(matrix.float(), rank)
    else:
        left, values, right = _large(matrix.float(), rank)
    largest = right.abs().argmax(dim=1, keepdim=True)
    flips = torch.where(right.gather(1, largest) < 0, -1.0, 1.0).to(right)
    return Triplets((left * flips.T).float(), values.float(), (right * flips).float())


def _full(matrix: torch.Tensor, rank: int) -> Triplets:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return Triplets(left[:, :rank], values[:rank], right[:rank])


def _large(matrix: torch.Tensor, rank: int) -> Triplets:
    if (triplets := block_krylov(matrix, rank)) is not None:
        return triplets
    logger.info("The iteration for a %d x %d weight did not converge; using a full decomposition", *matrix.shape)
    return _full(matrix, rank)

"""The largest singular triplets of a matrix, exactly. Knows nothing of layers or adapters.

PEFT's randomised iteration finds another subspace when singular values lie close together, as they do in trained
weights; here a full decomposition serves small matrices, a block Krylov iteration that is checked large ones.
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
    """The `rank` largest singular triplets of `weight` [m, n], in float32. Large ones are decomposed where they lie.

    Signs, which a decomposition leaves open, are set so that the largest entry of each right vector is positive.

    Raises:
        ModelError: a rank beyond the smaller side, or a weight that holds NaN or infinities.
    """
    matrix, smaller = weight.detach(), min(weight.shape)
    if not 1 <= rank <= smaller:
        raise ModelError(f"rank {rank} is more than a {matrix.shape[0]} x {matrix.shape[1]} weight has ({smaller})")
    if not bool(torch.isfinite(matrix.sum())) and not bool(torch.isfinite(matrix).all()):  # the sum is quicker
        raise ModelError("the weight holds NaN or infinite numbers")
    if smaller <= SMALL:
        left, values, right = _full(matrix.cpu().double(), rank)
    elif 4 * rank > smaller:
        left, values, right = _full(matrix.float(), rank)
    else:
        left, values, right = _large(matrix.float(), rank)
    largest = right.abs().argmax(dim=1, keepdim=True)
    signs = torch.where(right.gather(1, largest) < 0, -1.0, 1.0).to(right)
    return Triplets((left * signs.T).float(), values.float(), (right * signs).float())


def _full(matrix: torch.Tensor, rank: int) -> Triplets:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return Triplets(left[:, :rank], values[:rank], right[:rank])


def _large(matrix: torch.Tensor, rank: int) -> Triplets:
    if (found := block_krylov(matrix, rank)) is not None:
        return found
    logger.info("the iteration for a %d x %d weight did not converge; it is decomposed in full", *matrix.shape)
    return _full(matrix, rank)

"""Truncated singular value decomposition of a large matrix, on the matrix's device.

Block Golub-Kahan-Lanczos bidiagonalisation (Golub, Luk and Overton 1981, ACM TOMS 7(2)) with one-sided
reorthogonalisation (Simon and Zha 2000, SIAM J. Sci. Comput. 21(6)). Every matrix product is with a block of columns,
which is fast on all processors. The small projected problem is solved in float64.

Shapes: M, N the matrix; R requested triplets; B columns of a block; K columns of the whole space, B for each step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

BLOCK = 16
FIRST_LOOK = 4  # steps before the first convergence check
ANGLE = 1e-3  # stop when the estimated sine of the remaining angle is at most this
ROUNDING = 2e-6  # of the largest value: a residual of float32's own
RESIDUAL = 1e-3  # of the largest value: largest allowed norm of A^T u - s v


class Triplets(NamedTuple):
    """The top-r triplets of W [m, n], largest first, in float32 on W's device."""

    left: torch.Tensor  # [m, r]
    values: torch.Tensor  # [r]
    right: torch.Tensor  # [r, n]


@torch.no_grad()
def block_krylov(matrix_MN: torch.Tensor, rank: int) -> Triplets | None:
    """Return the `rank` largest singular triplets of a float32 matrix, or None without convergence.

    The space is limited to half the matrix's smaller side. The start is random with a fixed seed. The iteration has
    converged if the subspace is not expected to turn by more than `ANGLE`, extrapolated from earlier checks. At the
    end, the residual is checked on the matrix itself.
    """
    space, seen = _Space(matrix_MN), _Turning()
    look = FIRST_LOOK
    for step in range(1, min(matrix_MN.shape) // (2 * BLOCK) + 1):
        space.grow()
        if step < look or step * BLOCK <= rank:
            continue
        look = step + max(1, step // 8)
        top_KR, values_R, residual = space.solve(rank)
        if seen.settled(top_KR) or residual <= ROUNDING * float(values_R[0]):
            return _checked(matrix_MN, space.basis_KN[: step * BLOCK].T @ top_KR.float().to(matrix_MN.device))
    return None


class _Space:
    """The growing space: A V = U P exactly, A^T U = V P^T but for the last block; P is block bidiagonal."""

    def __init__(self, matrix_MN: torch.Tensor) -> None:
        columns, steps = matrix_MN.shape[1], min(matrix_MN.shape) // (2 * BLOCK)
        start = torch.randn(columns, BLOCK, generator=torch.Generator().manual_seed(0)).to(matrix_MN.device)
        self.matrix_MN = matrix_MN
        self.basis_KN = matrix_MN.new_empty((steps + 1) * BLOCK, columns)
        self.basis_KN[:BLOCK] = torch.linalg.qr(start).Q.T
        self._left_MB = self._beside_BB = matrix_MN.new_empty(0)
        self._diagonal: list[torch.Tensor] = []  # [B, B], float64 on the CPU
        self._beside: list[torch.Tensor] = []

    def grow(self) -> None:
        """Add one block."""
        end = (len(self._diagonal) + 1) * BLOCK
        block_NB, basis_KN = self.basis_KN[end - BLOCK : end].T, self.basis_KN[:end]
        image_MB = self.matrix_MN @ block_NB
        if self._beside:
            image_MB -= self._left_MB @ self._beside_BB
        self._left_MB, diagonal_BB = torch.linalg.qr(image_MB)
        back_NB = (self._left_MB.T @ self.matrix_MN).T  # faster than with the transposed matrix
        back_NB = back_NB - block_NB @ diagonal_BB.T
        back_NB -= basis_KN.T @ (basis_KN @ back_NB)
        next_NB, rest_BB = torch.linalg.qr(back_NB)
        next_NB -= basis_KN.T @ (basis_KN @ next_NB)  # again: a single pass leaves rounding errors that grow
        next_NB, again_BB = torch.linalg.qr(next_NB)
        self.basis_KN[end : end + BLOCK] = next_NB.T
        self._beside_BB = (again_BB @ rest_BB).T
        self._diagonal.append(diagonal_BB.cpu().double())
        self._beside.append(self._beside_BB.cpu().double())

    def solve(self, rank: int) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Return right vectors of the projected matrix [K, R], its values [R], and the norm of A^T U - V S."""
        projected_KK = torch.block_diag(*self._diagonal)
        for step, beside_BB in enumerate(self._beside[:-1]):
            begin = step * BLOCK
            projected_KK[begin : begin + BLOCK, begin + BLOCK : begin + 2 * BLOCK] = beside_BB
        projected_KK = projected_KK.nan_to_num()  # from overflow in squares; the residual reveals it
        squares_K, vectors_KK = torch.linalg.eigh(projected_KK.T @ projected_KK)
        top_KR, values_R = vectors_KK[:, -rank:].flip(1), squares_K[-rank:].flip(0).clamp_min(0).sqrt()
        left_BR = projected_KK[-BLOCK:] @ top_KR / values_R.clamp_min(torch.finfo(torch.float64).tiny)
        return top_KR, values_R, float((self._beside[-1].T @ left_BR).norm())


class _Turning:
    """How much the subspace still turns between checks."""

    def __init__(self) -> None:
        self._top_KR: torch.Tensor | None = None
        self._turned: float | None = None

    def settled(self, top_KR: torch.Tensor) -> bool:
        """Whether the remaining angle is at most `ANGLE`, if angles shrink by the same factor at each check."""
        before_KR, self._top_KR = self._top_KR, top_KR
        if before_KR is None:
            return False
        before_KR = torch.cat([before_KR, before_KR.new_zeros(len(top_KR) - len(before_KR), before_KR.shape[1])])
        turned = float(torch.linalg.matrix_norm(before_KR - top_KR @ (top_KR.T @ before_KR), 2))
        before, self._turned = self._turned, turned
        if before is None:
            return False
        factor = min(turned / max(before, 1e-30), 0.9)
        return turned * factor / (1 - factor) <= ANGLE


def _checked(matrix_MN: torch.Tensor, right_NR: torch.Tensor) -> Triplets | None:
    """Return the triplets of a right subspace, after half a power step; None if the residual is too large."""
    image_MR = matrix_MN @ right_NR
    if not bool(torch.isfinite(image_MR.sum())):
        return None
    left_MR, values_R, turn_RR = torch.linalg.svd(image_MR, full_matrices=False)
    back_NR = (left_MR.T @ matrix_MN).T
    residual = (back_NR - right_NR @ turn_RR.T * values_R).norm(dim=0).max()
    if not bool(residual <= RESIDUAL * values_R[0]):
        return None
    right_NR, values_R, turn_RR = torch.linalg.svd(back_NR, full_matrices=False)
    return Triplets(left_MR @ turn_RR.T, values_R, right_NR.T)

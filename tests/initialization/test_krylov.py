"""The block Krylov iteration: the subspace of a full decomposition, whatever the spectrum, or none at all."""

from __future__ import annotations

import pytest
import torch

from sft.initialization import krylov
from sft.initialization.krylov import block_krylov


def with_spectrum(values: torch.Tensor, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix of these singular values, and its singular vectors, in float64."""
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(rows, len(values), generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(columns, len(values), generator=generator, dtype=torch.float64)).Q
    return (left * values) @ right.T, left, right


def sine(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the sine of the largest angle between two subspaces with orthonormal bases."""
    found = torch.linalg.qr(found.double()).Q
    return float(torch.linalg.matrix_norm(found - wanted @ (wanted.T @ found), 2))


SPECTRA = {
    "gap": torch.cat([torch.linspace(20, 15, 8), torch.linspace(10, 1, 592)]),
    "flat": 3 - 3 * torch.linspace(0, 1, 600) ** (2 / 3),  # at its edge as that of a random matrix
    "steep": 100.0 * 0.9 ** torch.arange(600),
    "one giant": torch.cat([torch.tensor([1e4]), 20 * 0.97 ** torch.arange(599)]),
    "ties": torch.cat([torch.full((8,), 5.0), torch.linspace(4.5, 1, 592)]),
    "low rank": torch.cat([torch.linspace(9, 5, 3), torch.zeros(597)]),
}


@pytest.mark.parametrize("shape", [(600, 700), (700, 600)])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_space_of_the_largest(spectrum: str, shape: tuple[int, int]) -> None:
    values = SPECTRA[spectrum].double()
    matrix, left, right = with_spectrum(values, *shape)
    found = block_krylov(matrix.float(), 8)
    assert found is not None
    assert torch.allclose(found.values.double(), values[:8], rtol=1e-4, atol=1e-6 * float(values[0]))
    filled = min(8, int(values.count_nonzero()))
    assert sine(found.right[:filled].T, right[:, :filled]) < 2e-3
    assert sine(found.left[:, :filled], left[:, :filled]) < 2e-3
    assert torch.allclose(found.right @ found.right.T, torch.eye(8), atol=1e-5)
    assert torch.allclose(found.left[:, :filled].T @ found.left[:, :filled], torch.eye(filled), atol=1e-5)


def test_a_zero_matrix_has_zero_values() -> None:
    found = block_krylov(torch.zeros(600, 520), 4)
    assert found is not None and not found.values.count_nonzero()
    assert torch.allclose(found.right @ found.right.T, torch.eye(4), atol=1e-5)


def test_the_same_every_time() -> None:
    matrix = torch.randn(600, 600, generator=torch.Generator().manual_seed(1))
    first, again = block_krylov(matrix, 4), block_krylov(matrix, 4)
    assert first is not None and again is not None and torch.equal(first.right, again.right)


def test_no_result_without_convergence(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = with_spectrum(SPECTRA["flat"].double(), 600, 600)[0].float()
    assert block_krylov(flat[:, :100], 8) is None  # a space of three blocks is too small
    monkeypatch.setattr(krylov, "ANGLE", 10.0)  # stopped far too early: the residual reveals it
    assert block_krylov(flat, 8) is None
    assert block_krylov(torch.full((600, 600), float("nan")), 8) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_result_stays_there_and_is_the_same() -> None:
    matrix = with_spectrum(SPECTRA["gap"].double(), 700, 600)[0].float()
    found, wanted = block_krylov(matrix.cuda(), 8), block_krylov(matrix, 8)
    assert found is not None and wanted is not None and found.right.is_cuda
    assert sine(found.right.cpu().T, torch.linalg.qr(wanted.right.double().T).Q) < 1e-4

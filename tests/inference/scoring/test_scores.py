"""Arithmetic on label scores."""

from __future__ import annotations

import numpy as np
import pytest

from sft.inference.scoring.scores import LabelScores, probabilities


def scores() -> LabelScores:
    return LabelScores(
        np.array([[-4.0, -6.0], [-2.0, -9.0]], dtype=np.float32),
        np.array([[-1.0, -2.0], [-0.5, -3.0]], dtype=np.float32),
        np.array([[-3.0, -2.5], [-1.5, -4.0]], dtype=np.float32),
        np.array([2, 3], dtype=np.int64),
    )


def test_kinds_of_scores() -> None:
    np.testing.assert_array_equal(scores().scores("sum"), [[-4, -6], [-2, -9]])
    np.testing.assert_array_equal(scores().scores("mean"), [[-2, -2], [-1, -3]])
    np.testing.assert_array_equal(scores().scores("first"), [[-3, -2.5], [-1.5, -4]])
    assert scores().scores("mean").dtype == np.float32
    with pytest.raises(ValueError, match="pmi"):
        scores().scores("pmi")  # type: ignore[arg-type]


def test_scores_are_equal_after_storing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from safetensors.numpy import load_file, save_file

    tensors = scores().tensors()
    assert set(tensors) == {"sum_logprob", "end_logprob", "first_logprob", "token_count"}
    save_file({**tensors, "probes": np.zeros(3)}, tmp_path / "label_scores.safetensors")
    loaded = LabelScores.from_tensors(load_file(tmp_path / "label_scores.safetensors"))
    for name, tensor in loaded.tensors().items():
        np.testing.assert_array_equal(tensor, tensors[name])
        assert tensor.dtype == tensors[name].dtype


def test_transposed_scores_are_stored_as_they_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from safetensors.numpy import load_file, save_file

    turned = LabelScores(*(np.arange(6, dtype=np.float32).reshape(3, 2).T for _ in range(3)), np.array([1, 1, 1]))
    save_file(turned.tensors(), tmp_path / "scores.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "scores.safetensors")["sum_logprob"], turned.sum_logprob_NL)


def test_probabilities_are_a_softmax_for_values_of_any_size() -> None:
    found = probabilities(np.array([[-1000.0, -1001.0], [-3.0, -3.0], [0.0, -2000.0]], dtype=np.float32))
    expected = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(found, [[expected, 1 - expected], [0.5, 0.5], [1.0, 0.0]], atol=1e-15)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-15)


def test_no_rows_have_no_probabilities() -> None:
    assert probabilities(np.zeros((0, 3), dtype=np.float32)).shape == (0, 3)

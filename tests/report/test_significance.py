"""One function applies the level, and a p of exactly .05 is significant."""

from __future__ import annotations

import pytest

from sft.report.significance import Contrast, RowsTest, is_significant


@pytest.mark.parametrize(
    ("p_value", "significant"), [(None, False), (0.0, True), (0.05, True), (0.05 + 1e-12, False), (1.0, False)]
)
def test_the_level(p_value: float | None, significant: bool) -> None:
    assert is_significant(p_value) == significant
    models = RowsTest(0.01, 0.01, "sign flips, exact")
    assert Contrast(0.1, None, None, p_value, p_value, "", models).is_significant == significant

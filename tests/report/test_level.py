"""Level of the tests and coverage of the intervals of a table, in made-up studies through the report's own code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_tests_hold_their_level_and_intervals_cover_the_truth(tmp_path: Path, repository: Path) -> None:
    figures = tmp_path / "level.json"
    script = repository / "scripts" / "bench" / "level.py"
    subprocess.run([sys.executable, str(script), "--quick", "--json", str(figures)], check=True)
    found = json.loads(figures.read_text())
    assert found["worst_level"] <= 0.06
    assert found["worst_coverage_low"] >= 0.93
    assert found["worst_coverage_high"] <= 0.97
    assert found["contradictions"] == 0
    assert found["tables"] > 10_000

"""Tables of runs with given outcomes, for tests of what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from sft.report.comparison import Comparison, Row
from sft.report.judged.outcomes import Outcomes
from sft.report.judged.significance import judge
from sft.report.read.finished import Finished
from sft.report.significance import Significance

ROWS = 300


def outcome(rate: float, seed: int, judged_on: str = "these", rows: int = ROWS) -> Outcomes:
    """A run that answers that share of three labels rightly."""
    rng = np.random.default_rng(seed)
    reference_N = np.arange(rows) % 3
    right_N = rng.random(rows) < rate
    predicted_N = np.where(right_N, reference_N, (reference_N + 1) % 3)
    scores = {"brier": (rng.random(rows) * 0.2 + 0.8 * (1 - right_N)).astype(np.float32)}
    return Outcomes(
        rows, judged_on, {"accuracy": right_N}, scores, 3, reference_N.astype(np.int16), predicted_N.astype(np.int16)
    )


class Study:
    """A table of runs with given outcomes."""

    def __init__(self, rows: Sequence[Sequence[Outcomes | None]], **more: Any) -> None:
        self.outcomes: dict[tuple[str, str], Outcomes] = {}
        self.rows = tuple(self._row(number, outcomes) for number, outcomes in enumerate(rows))
        standing = {
            "settings": (),
            "metrics": ("accuracy", "macro_f1"),
            "best": {},
            "chosen_on": "test",
            "comparable": True,
            "baselines": (0,) * len(rows),
        }
        runs = tuple(run for row in self.rows for run in row.runs)
        self.comparison = Comparison(runs=runs, rows=self.rows, **{**standing, **more})

    def _row(self, number: int, outcomes: Sequence[Outcomes | None]) -> Row:
        runs = []
        for seed, found in enumerate(outcomes):
            name = f"{number}-{seed}"
            values: Mapping[str, float] = {}
            if found is not None:
                self.outcomes[name, "test"] = found
                values = {**found.values(), "auroc": 0.5 + 0.01 * seed, "micro_f1": 0.5}
            runs.append(self._run(name, values))
        return Row(tuple(runs), f"row {number}")

    @staticmethod
    def _run(name: str, values: Mapping[str, float]) -> Any:
        of_split = {"test": values}
        return SimpleNamespace(
            id=name,
            name=name,
            seed=int(name.partition("-")[2]),
            is_fixed=False,
            metrics=lambda split="test": of_split.get(split, {}),
            set=of_split.__setitem__,
            result=Finished(0, 1.0, of_split, {}, 0, "", b"{}") if values else None,
        )

    def fix(self, index: int) -> None:
        """Nothing is random in that row's only run."""
        only: Any = self.rows[index].runs[0]
        only.is_fixed = True

    def figures(self, index: int, metric: str) -> list[float]:
        return [run.metrics()[metric] for run in self.rows[index].runs]

    def judged(self) -> Significance:
        return judge(self.comparison, self.outcomes)


def seeds(rate: float, count: int, first: int = 0) -> list[Outcomes]:
    return [outcome(rate, first + seed) for seed in range(count)]

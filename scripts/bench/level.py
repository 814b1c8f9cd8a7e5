"""Measure how often the table reports differences that do not exist, the coverage of its intervals, and its power.

    python scripts/bench/level.py [--json FILE] [--studies 200] [--again 3000] [--full | --quick] [--jobs 2] [--record]

Studies are simulated: recipes that are equally good, whose accuracy differs from seed to seed by a known spread, with
rows that are harder than others, for all recipes or for one of them. Their runs go through the code that creates
the table (`sft.report.compared.recipes.compared`), with the same seeds for all recipes or with others for each.
Level: the share of studies in which anything is found, a p of at most .05 against the baseline or a row distinguished
from the best (family-wise; the aim is 5 %). Coverage: the share of 95 % intervals of Δ that contain 0. Power: the share
in which a recipe that is better by .1 is found. Contradictions: tables in which p and `=` disagree about a pair.

The worst of many settings is partly bad luck. So the settings that look worst (`WORST` by each of the three figures)
are run again with new studies, and only these count: the worst of them is written. `--json` writes `worst_level`,
`worst_coverage_low` and `worst_coverage_high`, and the figures of each setting. `--full` also runs all settings with
twelve recipes, and five times as many studies; `--quick` runs a part of the settings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported, here and in child processes
sys.path.insert(0, str(Path(__file__).resolve().parent))

from level_studies import Case, Counts, run
from record import write_section

PACKAGES = ("numpy", "scipy")
WORST = 3
SPREADS = (0.0, 0.02, 0.05, 0.08)


def settings(full: bool, quick: bool) -> list[Case]:
    """Return the settings with equally good recipes."""
    spreads = (0.0, 0.05) if quick else SPREADS
    sizes = (200, 500) if quick else (200, 500, 3_000)
    both, several = (True, False), (3, 5, 10)
    two = [Case(*one, recipes=2) for one in itertools.product(spreads, several, both, sizes)]
    fixed = [Case(spread, seeds, True, 500, 2, fixed=True) for spread, seeds in itertools.product(spreads, several)]
    # with no rows and with most rows hard for all recipes
    alike = [Case(spread, 3, True, 500, 2, hard=hard, own=0.0) for spread in spreads for hard in (0.0, 0.8)]
    many = [Case(*one, recipes=12) for one in itertools.product(spreads, several, both, sizes if full else (200,))]
    more = [Case(spread, 3, True, rows, recipes) for spread in spreads for recipes, rows in ((5, 500), (12, 3_000))]
    return [*two, *fixed, *alike, *many, *more]


def powers() -> list[Case]:
    """Return the settings in which the last recipe is better."""
    return [
        Case(spread, seeds, True, 500, recipes, better=0.1)
        for recipes, spread, seeds in itertools.product((2, 5), SPREADS, (3, 5, 10))
    ]


class Levels:
    """Figures of all settings.

    Args:
        pool: pool of processes.
        studies: studies per setting; fewer with many recipes, as each study then has many intervals.
        again: studies per setting that is run again; a quarter of it with many recipes.
    """

    def __init__(self, pool: Pool, studies: int, again: int) -> None:
        self._pool, self._studies, self._again = pool, studies, again
        self.counts: dict[Case, dict[str, Counts]] = {}
        self._fresh: set[Case] = set()

    def measure(self, cases: Sequence[Case]) -> None:
        """Run all settings once, the largest first, and the ones that look worst again."""
        cases = sorted(cases, key=lambda case: -case.rows * case.seeds * case.recipes)
        self._run([(case, max(20, 2 * self._studies // case.recipes), 1) for case in cases])
        wanted = {case for ranked in self._ranked().values() for case, _ in ranked[:WORST]}
        print(f"{len(self.counts)} settings; {len(wanted)} look worst and run again", file=sys.stderr, flush=True)
        for case in wanted:
            del self.counts[case]
        parts = [
            (case, self._again // (4 if case.recipes == 2 else 16), 10 + part) for case in wanted for part in range(4)
        ]
        self._run(parts)
        self._fresh = wanted

    def _run(self, parts: Sequence[tuple[Case, int, int]]) -> None:
        for (case, _, _), counts in zip(parts, self._pool.starmap(run, parts, chunksize=1), strict=True):
            totals = self.counts.setdefault(case, {})
            for metric, new in counts.items():
                old = totals.get(metric)
                totals[metric] = new if old is None else Counts(*map(sum, zip(old, new, strict=True)))

    def worst(self) -> dict[str, tuple[Case, float]]:
        """Return the largest level and the smallest and largest coverage of the settings run again."""
        return {
            name: next(item for item in ranked if item[0] in self._fresh) for name, ranked in self._ranked().items()
        }

    def _ranked(self) -> dict[str, list[tuple[Case, float]]]:
        """Return the settings by level and by coverage, the worst first."""
        levels = [(case, max(one.level for one in found.values())) for case, found in self.counts.items()]
        lows = [(case, min(one.coverage for one in found.values())) for case, found in self.counts.items()]
        highs = [(case, max(one.coverage for one in found.values())) for case, found in self.counts.items()]
        return {
            "worst_level": sorted(levels, key=lambda item: -item[1]),
            "worst_coverage_low": sorted(lows, key=lambda item: item[1]),
            "worst_coverage_high": sorted(highs, key=lambda item: -item[1]),
        }


def table(levels: Levels, power: dict[Case, dict[str, Counts]]) -> Iterator[str]:
    """Yield a Markdown table of each spread and number of seeds, with the range over all other settings."""
    yield "| spread over seeds | seeds | level | coverage of Δ's interval | power, 2 recipes | power, 5 recipes |"
    yield "|---|---|---|---|---|---|"
    for spread, seeds in itertools.product(SPREADS, (3, 5, 10)):
        own = [one for case, found in levels.counts.items() if case[:2] == (spread, seeds) for one in found.values()]
        cells = [_range([one.level for one in own]), _range([one.coverage for one in own])]
        for recipes in (2, 5):
            found = [
                one["accuracy"] for case, one in power.items() if (case[:2], case.recipes) == ((spread, seeds), recipes)
            ]
            cells.append(f"{found[0].found / found[0].studies:.0%}" if found else "-")
        yield f"| {spread:.2f} | {seeds} | {' | '.join(cells)} |"


def _range(shares: Sequence[float]) -> str:
    return f"{min(shares):.1%} to {max(shares):.1%}"


def _record(case: Case, found: dict[str, Counts]) -> dict[str, Any]:
    figures = {
        metric: {"level": one.level, "coverage": one.coverage if one.intervals else None, **one._asdict()}
        for metric, one in found.items()
    }
    return {**case._asdict(), **figures}


def main() -> None:
    """Measure, and print or write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="Studies of two recipes in each setting.")
    parser.add_argument("--again", type=int, default=3_000, help="Studies of a setting that looks worst.")
    parser.add_argument("--full", action="store_true", help="All settings, five times as many studies.")
    parser.add_argument("--quick", action="store_true", help="Fewer settings, half of the studies, no power.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--record", action="store_true", help="Write the section of RESULTS.md.")
    options = parser.parse_args()
    start, factor = time.perf_counter(), 5.0 if options.full else 0.5 if options.quick else 1.0
    with get_context("fork").Pool(options.jobs) as pool:
        levels = Levels(pool, round(factor * options.studies), round(max(1.0, factor) * options.again))
        levels.measure(settings(options.full, options.quick))
        cases = [] if options.quick else powers()
        found = pool.starmap(run, [(case, round(factor * options.studies / case.recipes), 3) for case in cases], 1)
    power = dict(zip(cases, found, strict=True))
    counted = [one for of_case in (*levels.counts.values(), *found) for one in of_case.values()]
    worst = levels.worst()
    figures = {
        **{name: round(share, 5) for name, (_, share) in worst.items()},
        "worst_settings": {name: case._asdict() for name, (case, _) in worst.items()},
        "contradictions": sum(one.contradictions for one in counted),
        "tables": sum(one.studies for one in counted),
        "seconds": round(time.perf_counter() - start, 1),
        "levels": [_record(*item) for item in levels.counts.items()],
        "power": [_record(*item) for item in power.items()],
    }
    lines = [*table(levels, power), "", _words(figures)]
    print("\n".join(lines))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.record:
        write_section("Level and power of the table's tests", [*_INTRODUCTION, "", *lines], PACKAGES)


_INTRODUCTION = (
    "Simulated studies through the code that creates the table (`level.py`): equal recipes whose accuracy differs from "
    "seed to seed. Level: studies in which anything is found, family-wise; coverage of 95 % intervals. Ranges are over "
    "the same and separate seeds, 200, 500 and 3,000 rows, accuracy and macro F1, 2, 5 and 12 recipes, a baseline with "
    "without seeds. Power: a recipe that is better by .1 is found (500 rows, the same seeds).",
)


def _words(figures: dict[str, Any]) -> str:
    return (
        f"Worst of the settings run again with new studies: level {figures['worst_level']:.1%}, coverage "
        f"{figures['worst_coverage_low']:.1%} to {figures['worst_coverage_high']:.1%}. In {figures['tables']:,} tables "
        f"{figures['contradictions']} have contradicting marks. {figures['seconds']:.0f} s."
    )


if __name__ == "__main__":
    main()

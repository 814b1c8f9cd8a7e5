"""Every format of a report shows the same values: they are parsed from its files and compared."""

from __future__ import annotations

import csv
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.evaluation.classification import classification_metrics
from sft.io import finite
from sft.report.build import build
from sft.report.choices import Choices
from sft.report.comparison import Estimate
from sft.report.formats.table import THESE_MODELS, estimate, interval, p_value
from sft.report.formats.text import render_text
from sft.report.formats.values import VALUES
from sft.report.metrics import number, signed, title
from sft.report.rows import compare
from sft.report.significance import Interval
from sft.report.write import NAMES, write_report
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import config_of, make_plan, write_plan

LABELS = ("bad", "fine", "good")
NESTED = {"these_models", "to_best"}


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw configurations with two seeds: rows, labels, confidence and accuracy of each run, and failed runs."""
    rows = draw(st.integers(1, 40))
    labels = draw(st.integers(1, 3))
    met = draw(st.integers(1, labels))
    runs = st.tuples(
        st.sampled_from([0.0, 0.3, 3.0, 500.0]), st.integers(0, 99), st.sampled_from([*["done"] * 4, "oom"])
    )
    return {
        "rows": rows, "labels": labels, "met": met, "runs": draw(st.lists(runs, min_size=5, max_size=5)),
        "certain": draw(st.booleans()),
        "leading": draw(st.sampled_from(["accuracy", "log_loss", "auroc", "mcc", "ece"])),
        "named": draw(st.booleans()),
    }  # fmt: skip


def written(root: Path, study: dict[str, Any]) -> ResultStore:
    configs = {f"shots={shots}": config(shots) for shots in (0, 4, 16)}
    plan = make_plan(Grid(Path("grid.jsonnet"), configs, (13, 14)), None)
    store = ResultStore(root)
    write_plan(plan, store)
    for experiment, (skill, seed, state) in zip(plan.experiments, study["runs"], strict=True):
        folder = store.folder(experiment.id, experiment.slug)
        folder.path.mkdir(parents=True)
        if state != "done":
            folder.write_state(RunState(state=state, error="no memory", exit_code=1))
            continue
        source, labels = np.random.default_rng(seed), LABELS[: study["labels"]]
        truth_N = np.arange(study["rows"]) % study["met"]
        scores_NL = source.normal(size=(study["rows"], len(labels))) * 3 + skill * np.eye(len(labels))[truth_N]
        if study["certain"]:
            scores_NL = np.where(scores_NL == scores_NL.max(axis=1, keepdims=True), 0.0, -800.0)
        probabilities_NL = np.exp(scores_NL - scores_NL.max(axis=1, keepdims=True))
        probabilities_NL /= probabilities_NL.sum(axis=1, keepdims=True)
        references = [labels[label] for label in truth_N]
        predictions = [labels[label] for label in probabilities_NL.argmax(axis=1)]
        results = classification_metrics(references, predictions, labels, probabilities_NL)
        folder.write_predictions({
            "text": [f"row {n}" for n in range(study["rows"])], "label": references, "predictions": predictions,
            "probabilities": [json.dumps(dict(zip(labels, row, strict=True))) for row in probabilities_NL.tolist()],
        })  # fmt: skip
        folder.write_result(RunResult(
            name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
            endpoint="run-experiment", config=config_of(experiment), results=results, labelled_examples=3,
            shots={"drawn": 6, "per_label": {"bad": 4, "good": 2}}, training={}, timings={"total": 1.0}, resources={},
            environment={}, data={"sha256": "one", "rows": {"test": study["rows"]}},
        ))  # fmt: skip
    return store


def config(shots: int) -> ExperimentConfig:
    return ExperimentConfig.model_validate({
        "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots}, "model": {"name": "hub/model"},
        "prompting": {"input_columns": ["text"], "output_column": "label"}, "inference": {},
        "lora": {}, "training": {},
    })  # fmt: skip


class _Cells(HTMLParser):
    """The table of the page: its headers, and the cells of each line without text for screen readers."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.unseen, self.depth = False, 0, 0
        self.keys: list[str] = []
        self.lines: list[list[list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self.inside = given.get("id") == "comparison"
        if not self.inside:
            return
        if tag == "th" and "data-key" in given:
            self.keys.append(given["data-key"] or "")
        if tag == "tr" and "row" in (given.get("class") or "").split():
            self.lines.append([])
        elif tag == "tr":
            self.depth = -1
        if tag in ("td", "th") and self.lines and "data-key" not in given:
            self.lines[-1].append([])
        if tag == "span":
            self.unseen += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "span" and self.inside:
            self.unseen -= 1
        if tag == "table":
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside and self.lines and self.lines[-1] and not self.unseen and data.strip():
            self.lines[-1][-1].append(" ".join(data.split()))


def of_markdown(text: str) -> list[dict[str, str]]:
    """Return the first table of the file."""
    lines = [unescape(line) for line in text.split("## ")[0].splitlines() if line.startswith("| ")]
    cells = [
        [cell.strip().replace("*", "").removesuffix("=").strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:] if set(row) != {"---"}]


def of_terminal(text: str) -> list[dict[str, str]]:
    lines = text.splitlines()
    header = re.split(r"\s{2,}", lines[0])
    rows = [re.split(r"\s{2,}", line) for line in lines[1:4]]
    return [dict(zip(header, [re.sub(r" [*=]$", "", cell) for cell in row], strict=True)) for row in rows]


def of_latex(text: str) -> list[dict[str, str]]:
    found = []
    for line in text.splitlines():
        if line.startswith("    ") and line.endswith("\\\\"):
            plain = line.removesuffix("\\\\")
            for old, new in (
                (r"$^{\dagger}$", ""), (r"{\scriptsize$\pm$ ", "± "), (r"$\Delta$", "Δ"), ("$-$", "-"), (r"\%", "%"),
                (r"\textbf{", ""), ("}", ""), (r"\textless{", "<"),
            ):  # fmt: skip
                plain = plain.replace(old, new)
            found.append([re.sub(r"^--$", "-", cell.strip()) for cell in plain.split(" & ")])
    return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


def expected(row: dict[str, Any], metrics: list[str], header: list[str]) -> dict[str, str]:
    """Return the cells that the table must show for a row of the JSON."""
    leading = row["metrics"].get(metrics[0], {})
    cells = {}
    for key in metrics:
        found = row["metrics"].get(key)
        cells[title(key)] = "-" if found is None else estimate(Estimate(found["mean"], found["std"], found["n"]), key)
    low, high = leading.get("ci_low"), leading.get("ci_high")
    cells["95 % interval"] = "-" if low is None else interval(Interval(low, high, ""), metrics[0])
    difference = leading.get("difference")
    if row["baseline"] is not None:
        cells[f"Δ {title(metrics[0])}"] = "-" if difference is None else signed(difference, metrics[0])
    cells["p"] = p_value(leading.get("p_holm"))
    cells[THESE_MODELS] = p_value((leading.get("these_models") or {}).get("p_holm"))
    cells["labelled"] = "-" if not row["labelled_examples"] else "3"
    return {name: text for name, text in cells.items() if name in header}


@settings(deadline=None, max_examples=12, phases=(Phase.explicit, Phase.generate))
@given(study=studies())
def test_all_formats_show_the_same(study: dict[str, Any], tmp_path_factory: Any) -> None:
    root = tmp_path_factory.mktemp("study")
    store = written(root, study)
    done = any(state == "done" for _, _, state in study["runs"])
    known = {
        key
        for folder in store.folders()
        if (one := folder.result())
        for key, value in one.results.items()
        if finite(value) is not None and isinstance(value, float)
    }
    metric = study["leading"] if study["leading"] in known else None
    built = build(compare(store, Choices(baseline="shots=0" if study["named"] else None, metric=metric)))
    write_report(built)
    texts = {name: (root / file).read_text(encoding="utf-8") for name, file in NAMES.items()}
    rows = json.loads(texts["json"])["rows"]
    same_in_the_sheet(rows, texts["csv"])
    if not done:
        return
    metrics = list(built.comparison.metrics)
    tables = {"md": of_markdown(texts["md"]), "terminal": of_terminal(render_text(built.comparison))}
    tables["tex"] = of_latex(texts["tex"])
    finished = [row for row in rows if row["finished"]]
    for name, table in tables.items():
        lines = finished if name == "tex" else rows
        assert len(table) == len(lines), name
        for row, line in zip(lines, table, strict=True):
            wanted = expected(row, metrics, list(line))
            assert {key: line[key] for key in wanted} == wanted, (name, row["name"])
    same_on_the_page(rows, texts["html"])
    same_for_each_run(json.loads(texts["json"])["runs"], texts["md"], metrics)


def same_in_the_sheet(rows: list[dict[str, Any]], text: str) -> None:
    """Check every value of every metric, in full precision."""
    for row, line in zip(rows, csv.DictReader(text.splitlines()), strict=True):
        names = {column.rpartition(".")[0] for column in line if column.endswith(".mean")}
        for metric in names:
            found = row["metrics"].get(metric, {})
            flat = {key: value for key, value in found.items() if key not in NESTED}
            for key in NESTED:
                flat |= {f"{key}_{name}": value for name, value in (found.get(key) or {}).items()}
            for name in VALUES:
                value, cell = flat.get(name), line[f"{metric}.{name}"]
                shown = "" if value is None else str(value).lower() if isinstance(value, bool) else value
                same = float(cell) == shown if isinstance(shown, float) else cell == shown
                assert same, (row["name"], metric, name, cell, value)


def same_on_the_page(rows: list[dict[str, Any]], text: str) -> None:
    page = _Cells()
    page.feed(text)
    for row, cells in zip(rows, page.lines, strict=True):
        for key, cell in zip(page.keys, cells[: len(page.keys)], strict=True):
            if key.startswith("test."):
                metric = key.removeprefix("test.")
                found = row["metrics"].get(metric)
                shown = "-" if found is None else estimate(Estimate(found["mean"], found["std"], found["n"]), metric)
                assert cell[0] == shown, (row["name"], key)
                if found is not None and found["ci_low"] is not None:
                    assert cell[-1] == f"{number(found['ci_low'], metric)} to {number(found['ci_high'], metric)}"


def same_for_each_run(runs: list[dict[str, Any]], markdown: str, metrics: list[str]) -> None:
    lines = [line for line in markdown.split("## Every experiment")[1].splitlines() if line.startswith("| ")]
    header, _, *table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    for run, row in zip(runs, table, strict=True):
        shown = dict(zip(header, row, strict=True))
        for key in metrics:
            assert shown[title(key)] == number(run.get("results", {}).get(key), key)

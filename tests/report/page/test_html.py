"""The written page: a table without scripts, scripts that its policy allows, and escaped text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sft.report.comparison import Built
from sft.report.figures import figures_of
from sft.report.page import cells, html
from sft.report.page.cells import view_of
from sft.report.page.html import render_html
from sft.report.read.runs import Run
from sft.report.significance import RowSignificance

sys.path.insert(0, str(Path(__file__).parent.parent))
from grids import built_of, config, results_of, small_grid
from payloads import PAYLOADS, hostile_results


class Page(HTMLParser):
    """The elements, attributes, text and scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.policy = ""
        self.text = ""
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.elements[tag] += 1
        self.attributes.update(given.keys())
        self.links += [value or "" for name, value in attributes if name in ("href", "src", "action", "srcdoc")]
        if given.get("http-equiv"):
            self.policy = given["content"] or ""
        if tag == "script":
            self._script = given.get("type") or "text/javascript"
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            self.scripts[-1] += data


@pytest.fixture(autouse=True)
def _without_the_drawing_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "figure_bundle", lambda: "1 < 2; '</script>' + '<!--'")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built_of(results_of(tmp_path_factory.mktemp("results"), small_grid(), fails=(5,)))


def rendered(built: Built) -> str:
    return render_html(built.comparison, figures_of(built.comparison), built.details)


def words(text: str) -> str:
    return re.sub(r"\s+", " ", Page(text).text)


def test_the_table_is_in_the_page(built: Built) -> None:
    text = words(rendered(built))
    best = max(built.comparison.rows, key=lambda row: (row.is_whole("accuracy"), row.estimate("accuracy")))
    assert f"with {best.name}, from" in text
    assert "7 configurations" in text
    assert "18 of 19 experiments done" in text
    assert "1 without a result" in text
    assert "others are not significantly different (test rows and seeds both sampled)." in text
    assert "= not significantly different from the best" in text
    for row in built.comparison.rows:
        found = row.estimate("accuracy")
        assert found is not None
        assert f"{found.mean:.3f}".lstrip("0") in text
    assert "t over 3 seeds" in text
    assert "these models by permutation of 9,999: p" in text
    (failed,) = built.comparison.unfinished
    assert f"out of memory {failed.name}CUDA out of memory, tried 2 GiB" in text
    assert "Student's t" in text


def test_it_shows_what_was_evaluated(built: Built) -> None:
    subject = "model · data: 60 test rows, 3 labels"
    assert f"Comparison {subject}" in words(rendered(built))
    shared = json.loads(next(one for one in Page(rendered(built)).scripts if '"themes"' in one))
    assert shared["subject"] == [[subject]]


def test_all_metrics_have_a_column_that_is_hidden_at_first(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {column.key: column.hidden for column in view_of(built.comparison).columns}
    assert columns["test.mcc"]
    assert not columns["test.accuracy"]
    column = list(columns).index("test.mcc")
    for line in view_of(built.comparison).lines:
        found = built.comparison.rows[line.index].estimate("mcc")
        assert found is not None
        assert line.cells[column].value == repr(found.mean)
        assert {len(run.cells) for run in line.runs} == {len(columns) - 1}
    assert f":root:not(.js) #comparison tr:not(.remarks) > :nth-child({column + 1})" in rendered(built)
    monkeypatch.setattr(cells, "MOST_LINES", 20)
    assert "test.mcc" not in {column.key for column in view_of(built.comparison).columns}


def test_marks_have_one_meaning(built: Built) -> None:
    """A small p is bold. There is no star, which marks the best in the terminal."""
    page = rendered(built)
    assert "*" not in re.sub(r"(?s)<(style|script).*?</\1>", "", page)
    sure = [line for line in view_of(built.comparison).lines for cell in line.cells if cell.sure]
    assert 0 < page.count("<small><b>p ") == len(sure)


def test_deterministic_runs_have_no_seed_and_a_missing_interval_is_explained(built: Built) -> None:
    comparison = built.comparison
    rows = {key: one for key, one in comparison.significance.rows.items() if key != (0, "ece")}
    rows[0, "ece"] = RowSignificance()
    runs = {key: one for key, one in comparison.significance.runs.items() if key[1] != "ece"}
    found = replace(comparison, significance=comparison.significance._replace(rows=rows, runs=runs))
    zero_shot, trained = view_of(found).lines[:2]
    assert [run.label for run in zero_shot.runs] == ["no seed"]
    assert [run.label for run in trained.runs] == ["seed 13", "seed 14", "seed 15"]
    (remark,) = (text for text in zero_shot.remarks if "ECE" in text)
    assert remark.endswith("; no interval: its bootstrap is biased.")
    records = [json.loads(one) for one in Page(rendered(Built(found, built.details))).scripts if '"metrics"' in one]
    assert {tuple(one)[2] for record in records for one in record["metrics"] if one[0] == "ECE"} == {
        "no interval: its bootstrap is biased"
    }


def test_with_many_settings_a_narrow_screen_has_them_in_one_cell(tmp_path: Path, built: Built) -> None:
    grid = {
        f"r={r} lr={lr} {init}": config(4, r, init, lr)
        for r in (4, 8)
        for lr in (1e-3, 1e-2)
        for init in ("pca", "pissa")
    }
    found = built_of(results_of(tmp_path, {"shots=0": config(0), **grid}), with_statistics=False)
    lines = view_of(found.comparison).lines
    assert [line.cells[0].folded.count("=") for line in lines] == [0, *[3] * 8]
    assert "init=pissa" in lines[-1].cells[0].folded
    assert ":nth-child(n + 2):nth-child(-n + 4)" in rendered(found)
    assert ":nth-child(n + 2)" not in rendered(built)


def test_thousands_look_alike(built: Built) -> None:
    runs = (built.comparison.runs[0],) * 1200
    assert "1,200 of 1,200 experiments done" in words(rendered(replace_runs(built, runs)))


def replace_runs(built: Built, runs: tuple[Run, ...]) -> Built:
    return Built(replace(built.comparison, runs=runs), built.details)


def test_every_run_has_its_page(built: Built) -> None:
    page = Page(rendered(built))
    runs = {run.id for run in built.comparison.runs}
    assert {link.removeprefix("#run=") for link in page.links if link.startswith("#run=")} == runs
    records = [json.loads(script) for script in page.scripts if script.startswith('{"id":')]
    assert {record["id"] for record in records} == runs
    assert records[0]["metrics"][0][:2] == ["accuracy", f"{built.comparison.runs[0].metrics()['accuracy']:.3f}"[1:]]
    assert " to " in records[0]["metrics"][0][2]


def test_without_statistics_their_columns_are_absent(tmp_path: Path) -> None:
    found = built_of(results_of(tmp_path, small_grid()), with_statistics=False)
    text = words(rendered(found))
    assert "95 % interval" not in text
    assert "significantly different" not in text
    assert "A difference smaller than the standard deviation may be chance." in text
    assert "95" not in Page(rendered(found)).policy.split("sha256")[0]


def test_one_run_alone_makes_a_page(tmp_path: Path) -> None:
    found = built_of(results_of(tmp_path, {"shots=0": small_grid()["shots=0"]}), with_statistics=False)
    text = words(rendered(found))
    assert "1 configuration ·" in text or "1 configuration " in text
    assert "shots=0" in text


def test_the_policy_allows_every_script_and_nothing_else(built: Built) -> None:
    page = Page(rendered(built))
    assert page.policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in page.policy
    assert page.policy.count("unsafe-inline") == 1  # styles
    assert "http" not in page.policy
    code = [script for script in page.scripts if not script.startswith(("{", "["))]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in code]
    assert len(hashes) == 3
    assert re.findall(r"sha256-([^']+)", page.policy) == hashes


def test_nothing_is_fetched(built: Built) -> None:
    page = Page(rendered(built))
    assert all(link.startswith("#") for link in page.links)
    assert page.elements.keys().isdisjoint({"link", "img", "iframe", "object", "embed", "base", "source", "video"})
    assert "@import" not in rendered(built)
    assert "url(" not in (html.PAGE / "report.css").read_text()


def test_our_scripts_make_no_markup_of_strings() -> None:
    for file in html.PAGE.glob("*.js"):
        code = file.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|srcdoc", code)
    assert {file.stem for file in html.PAGE.glob("*.js")} == {"begin", *html.SCRIPTS}


@pytest.fixture(scope="module")
def tame(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built_of(hostile_results(tmp_path_factory.mktemp("tame"), "ordinary"))


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_hostile_text_makes_no_element_link_or_handler(tmp_path: Path, tame: Built, payload: str) -> None:
    found, expected = Page(rendered(built_of(hostile_results(tmp_path, payload)))), Page(rendered(tame))
    assert found.elements == expected.elements
    assert found.attributes == expected.attributes
    assert len(found.links) == len(expected.links)
    assert all(link.startswith("#") for link in found.links)
    assert len(found.scripts) == len(expected.scripts)
    for script in found.scripts:
        if script.startswith(("{", "[")):
            json.loads(script)
            assert not set(script) & set("<>&\u2028\u2029")


def test_pages_of_very_many_runs_are_shortened_with_a_notice(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the pages of runs leave out" not in words(rendered(built))
    shortened = html.shortened
    monkeypatch.setattr(html, "shortened", lambda records: shortened(records, 20_000))
    assert "the pages of runs leave out all but five of the errors" in words(rendered(built))


def test_runs_without_a_page_are_no_links(built: Built) -> None:
    text = rendered(Built(built.comparison, {}))
    assert not [link for link in Page(text).links if link.startswith("#run=")]
    assert "seed 14" in words(text)


def test_some_failures_are_shown_and_the_rest_counted(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MOST_FAILURES", 1)
    runs = tuple(replace(run, result=None, state="failed", error="boom") for run in built.comparison.runs[:3])
    found = replace(built.comparison, runs=runs)
    assert "and 2 more" in words(rendered(Built(found, built.details)))

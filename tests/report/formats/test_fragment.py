"""The comparison in a notebook: cells, marks and notes of the table, with all text escaped."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sft.report.formats import fragment
from sft.report.formats.fragment import render_fragment
from sft.report.formats.notes import notes
from sft.report.formats.table import comparison_table
from sft.report.rows import compare

sys.path.insert(0, str(Path(__file__).parent.parent))
from grids import built_of, results_of, small_grid
from payloads import PAYLOADS, hostile_results

TAGS = {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "b", "pre"}


class Parsed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.cells: list[list[str]] = []
        self.paragraphs: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")
        if tag in ("p", "pre"):
            self.paragraphs.append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1] in ("th", "td", "b"):
            self.cells[-1][-1] += data
        elif self.tags[-1] in ("p", "pre"):
            self.paragraphs[-1] += data.removesuffix("\n")


def test_it_shows_the_table_with_its_marks_and_notes(tmp_path: Path) -> None:
    comparison = built_of(results_of(tmp_path, small_grid(), fails=(1,))).comparison
    table, parsed = comparison_table(comparison), Parsed(render_fragment(comparison))
    assert [cell.strip() for cell in parsed.cells[0]] == table.header
    for number, (row, cells) in enumerate(zip(table.rows, parsed.cells[1:], strict=True)):
        for column, (text, cell) in enumerate(zip(row, cells, strict=True)):
            mark = " *" if (number, column) in table.best else " =" if (number, column) in table.tied else ""
            assert cell.rstrip("\n") == text + mark
    assert parsed.tags.count("b") == len(table.best) > 0
    text = "\n".join(parsed.paragraphs)
    assert all(note in text for note in notes(comparison, "*", "="))
    assert "Out of memory: shots=4 init=pca seed=13 (CUDA out of memory, tried 2 GiB)" in text
    assert "hub" not in parsed.paragraphs[0]
    assert parsed.paragraphs[0].startswith("model · data: 60 test rows")


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_text_stays_text(tmp_path: Path, payload: str) -> None:
    parsed = Parsed(render_fragment(compare(hostile_results(tmp_path, payload))))
    assert set(parsed.tags) <= TAGS
    assert parsed.attributes == [("class", "tex2jax_ignore mathjax_ignore")]


def test_only_the_first_of_very_many_rows_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragment, "MOST_ROWS", 3)
    parsed = Parsed(render_fragment(compare(results_of(tmp_path, small_grid()))))
    assert len(parsed.cells) == 1 + 3
    assert "… and 4 more rows" in parsed.paragraphs


def test_a_notebook_keeps_at_most_five_hundred_rows() -> None:
    assert fragment.MOST_ROWS == 500

"""Text from configs, data, errors and logs stays text: in Markdown, CSV, LaTeX and on the terminal."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len

from sft.report.comparison import Comparison
from sft.report.formats.latex import render_latex
from sft.report.formats.markdown import render_markdown
from sft.report.formats.spreadsheet import render_csv
from sft.report.formats.text import render_text
from sft.report.pairs.pair import pair
from sft.report.pairs.pair_text import pair_json, pair_lines
from sft.report.rows import compare

sys.path.insert(0, str(Path(__file__).parent.parent))
from payloads import PAYLOADS, hostile_results

# what renderers of GitHub's Markdown make links of, without any brackets
BARE_LINK = re.compile(r"(?i)(?:https?|ftp)://|www\.")
TURNED = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # turn the direction of writing round
FORMULA = re.compile(r"[\s\u200b-\u200f\u202a-\u202e]*[=+\-@\t\r＝＋－＠]")  # noqa: RUF001
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
SPECIAL = set('\\{}$&#_%~^<>|"`[]*')
# the commands of the table, with what follows them
OURS = re.compile(
    r"\\(?:begin|end)\{(?:table|tabular)\}|\\(?:centering|toprule|midrule|bottomrule|scriptsize|caption|label|textbf)\b"
    r"|\\text(?:backslash|asciitilde|asciicircum|less|greater|bar)\{\}|\\symbol\{\d\d\}|\\[{}$&#_%]|\{\}|\{[\[\]*]\}"
    r"|\$(?:\\pm|\\Delta|\\cdot|-|\^\{\\dagger\})\$"
)


@pytest.fixture(scope="module")
def tame(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Return the same comparison with an ordinary word as the payload."""
    return compare(hostile_results(tmp_path_factory.mktemp("tame"), "ordinary"))


@pytest.fixture(scope="module", params=PAYLOADS.values(), ids=PAYLOADS.keys())
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare(hostile_results(tmp_path_factory.mktemp("hostile"), request.param))


def test_there_are_thirty_and_more() -> None:
    assert len(PAYLOADS) >= 30


def tokens(text: str) -> Iterator[Token]:
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        yield token
        yield from token.children or ()


def test_markdown_gets_no_new_element(hostile: Comparison, tame: Comparison) -> None:
    text = render_markdown(hostile)
    found, expected = (
        Counter(token.type for token in tokens(each) if token.type not in ("text", "text_special"))
        for each in (text, render_markdown(tame))
    )
    assert found == expected
    assert not {"image", "link_open"} & found.keys()
    html = {token.content.strip() for token in tokens(text) if token.type.startswith("html")}
    assert html == {"<details><summary>The end of its log</summary>", "</details>"}


def test_markdown_gets_no_bare_link_no_mathematics_and_nothing_turned_round(hostile: Comparison) -> None:
    outside = re.sub(r"(?ms)^ *(`{3,})text$.*?^ *\1$", "", render_markdown(hostile))
    assert not BARE_LINK.search(outside)
    assert not re.search(r"(?<!\\)(?:\\\\)*\$", outside)  # GitHub makes mathematics of $x$
    assert not TURNED & set(outside)


def test_csv_keeps_its_columns_and_holds_no_formula(hostile: Comparison, tame: Comparison) -> None:
    text = render_csv(hostile)
    rows, expected = (list(csv.reader(io.StringIO(each, newline=""), strict=True)) for each in (text, render_csv(tame)))
    assert [len(row) for row in rows] == [len(row) for row in expected]
    assert rows[1][2:4] == ["0", "1"]
    for cell in (cell for row in rows for cell in row):
        assert NUMBER.fullmatch(cell) or not FORMULA.match(cell)
        assert not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in cell)
        assert not TURNED & set(cell)
    assert text.count("\n") == text.count("\r\n") == len(rows)


def test_latex_gets_no_command_and_no_column(hostile: Comparison, tame: Comparison) -> None:
    text = render_latex(hostile)
    lines, expected = (
        [line for line in each.splitlines() if not line.startswith(r"  \caption")][1:]
        for each in (text, render_latex(tame))
    )
    ends = re.compile(r" \\\\$")
    assert len(lines) == len(expected)
    for line, usual in zip(lines, expected, strict=True):
        assert line.startswith("% ") == usual.startswith("% ")
        if line.startswith("% "):  # which nothing but a new line ends
            continue
        assert len(re.findall(r"(?<!\\)(?:\\\\)*&", line)) == len(re.findall("&", usual))
        assert bool(ends.search(line)) == bool(ends.search(usual))
    text = "\n".join(line for line in text.splitlines() if not line.startswith("% "))
    assert braces(text) == 0
    for line in text.splitlines():
        left = re.sub(r"\\begin\{tabular\}\{[lr]+\}", "", ends.sub("", line))
        left = OURS.sub("", left)
        assert not set(re.sub(" & |[{}]", "", left)) & SPECIAL, left
    assert text.isprintable() or all(character.isprintable() or character in "\n\ufffc" for character in text)


def braces(text: str) -> int:
    """Return the number of open braces at the end. None may be closed before it is opened."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", re.sub(r"\\\\", "", text)):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    return depth


def test_the_terminal_gets_no_control_characters(hostile: Comparison, tame: Comparison) -> None:
    text = render_text(hostile)
    assert is_harmless(text)
    assert len(text.splitlines()) == len(render_text(tame).splitlines())


def test_a_comparison_of_two_runs_shows_text_as_text(hostile: Comparison, tame: Comparison) -> None:
    pairs = [pair(*one.runs[:2]) for one in (hostile, tame)]
    assert [one.refused for one in pairs] == ["", ""]
    lines, usual = (list(pair_lines(one, 20, 100)) for one in pairs)
    assert is_harmless("\n".join(lines))
    assert len(lines) == len(usual)
    assert max(map(cell_len, lines[lines.index("") :])) < 200
    assert json.loads(pair_json(pairs[0]))["a"]["name"] == hostile.runs[0].name
    assert pair_json(pairs[0]).isascii()


def is_harmless(text: str) -> bool:
    """Whether a terminal shows the text unchanged: no control character, no change of direction."""
    turning = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    return not any(
        character != "\n" and (unicodedata.category(character) in ("Cc", "Zl", "Zp") or ord(character) in turning)
        for character in text
    )

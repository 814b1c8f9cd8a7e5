"""Exported figures, the script of the page, and hostile text."""

from __future__ import annotations

import cProfile
import json
import pstats
import re
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from sft.errors import UserError
from sft.report.comparison import Comparison
from sft.report.figures import Figure, bundle, bundle_versions, confusion, export, figures_of, filled, themed
from sft.report.figures.base import finish, sized
from sft.report.figures.output.bundle import cache_folder

sys.path.insert(0, str(Path(__file__).parents[2]))
from payloads import PAYLOADS

Make = Callable[..., Comparison]
MORE = {
    "expression": '"]; alert(1); ["',
    "path": "datum.mean",
    "brackets": "a.b[0]['c']",
    "signal": '{"signal": "1+1"}',
    "interpolation": "${datum.x}",
    "tooltip's image": "image",
    "tooltip's title": "title",
    "function": "constructor",
    "prototype": "__proto__",
    "empty": "",
    "lone surrogate": "a\ud800b",
}


def score(one: dict[str, Any], seed: int) -> dict[str, float]:
    return {"accuracy": 0.5 + one["shots"] / 100 + seed / 1000, "ece": 0.1}


def test_each_figure_is_a_file_of_each_kind(made: Make, tmp_path: Path) -> None:
    figures = figures_of(made([{"shots": 4}, {"shots": 8}], score))
    written = export(figures, tmp_path / "new" / "folder")
    assert sorted(file.name for file in written) == sorted(
        f"{name}.{kind}"
        for name in ("curve-accuracy-shots", "curve-ece-shots", "intervals-accuracy")
        for kind in ("png", "svg")
    )
    assert sorted(file.name for file in (tmp_path / "new" / "folder").iterdir()) == sorted(f.name for f in written)
    png = next(file for file in written if file.name == "curve-accuracy-shots.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") > 2 * 640  # two pixels for one
    svg = (tmp_path / "new" / "folder" / "curve-accuracy-shots.svg").read_text()
    assert "accuracy by shots" in svg
    assert "± 1 standard deviation over seeds" in svg
    assert 'fill="white"' in svg
    with pytest.raises(UserError, match='expected the format png or svg, got "gif"'):
        export(figures, tmp_path, ("gif",))


def test_nothing_is_fetched(tmp_path: Path) -> None:
    spec = {"data": {"url": "http://127.0.0.1:9/x.json"}, "mark": "point", "encoding": {"x": {"field": "a"}}}
    with pytest.raises(ValueError, match="not allowed"):
        export([Figure("a", "", "", spec)], tmp_path, ("svg",))
    assert not list(tmp_path.iterdir())


def test_names_are_those_of_files() -> None:
    from sft.report.figures.base import figure_name

    assert figure_name("curve", "../../etc/passwd", "C:\\x") == "curve-etc-passwd-c-x"
    assert figure_name("…") == "figure"
    assert len(figure_name("x" * 500)) == 80
    twice = finish([Figure("a", "1", "", {}), Figure("a", "2", "", {}), Figure("a", "3", "", {})])
    assert [one.name for one in twice] == ["a", "a-2", "a-3"]


def expressions(value: Any) -> Iterator[str]:
    """Yield the expressions that Vega-Lite would run."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("calculate", "filter", "test", "labelExpr", "expr", "signal") and isinstance(item, str):
                yield item
            yield from expressions(item)
    elif isinstance(value, list):
        for item in value:
            yield from expressions(item)


def hostile(made: Make, text: str) -> tuple[Figure, ...]:
    """Return figures whose names, instructions and metric contain a text."""
    varied = [{"shots": shots, "instruction": one} for shots in (4, 16) for one in (text, f"{text} too")]
    names = [f"{text} {number}" for number in range(len(varied))]
    return figures_of(made(varied, lambda one, seed: {f"length {text}": one["shots"] + seed}, names=names))


@lru_cache(maxsize=1)
def tame_ones(made: Make, draw: Callable[..., Any]) -> tuple[tuple[Figure, ...], list[Any]]:
    """The same figures of a tame text, and what they consist of."""
    figures = hostile(made, "tame")
    return figures, [kinds(draw(one.spec)) for one in figures]


@pytest.mark.parametrize("name", [*PAYLOADS, *MORE])
def test_texts_stay_texts(made: Make, draw: Callable[..., Any], name: str) -> None:
    text = {**PAYLOADS, **MORE}[name]
    figures, (tame, expected) = hostile(made, text), tame_ones(made, draw)
    assert [one.name.partition("-")[0] for one in figures] == [one.name.partition("-")[0] for one in tame]
    assert [list(expressions(one.spec)) for one in figures] == [list(expressions(one.spec)) for one in tame]
    for figure, known in zip(figures, expected, strict=True):
        json.dumps(figure.spec, allow_nan=False).encode()
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e\ud800]", figure.title + figure.caption)
        assert kinds(draw(figure.spec)) == known
        assert max(map(len, re.findall(r'"[^"]*"', json.dumps(figure.spec, ensure_ascii=False)))) <= 302


def kinds(drawn: Any) -> tuple[set[str], set[str]]:
    """Names of elements and attributes, which a text must not add to; it may have several lines."""
    lines = [one for one in drawn.elements if one.tag == "{http://www.w3.org/2000/svg}tspan"]
    assert {name for one in lines for name in one.attrib} <= {"x", "dy"}
    rest = [one for one in drawn.elements if one not in lines]
    return {one.tag for one in rest}, {name for one in rest for name in one.attrib}


def test_labels_of_a_page_stay_labels(draw: Callable[..., Any]) -> None:
    labels = ["<b>bold</b>", '"]; alert(1)', "datum.rows", "a.b[0]"]
    values = [{"reference": one, "prediction": one, "rows": 1} for one in labels]
    drawn = draw(filled(confusion(), values))
    assert [text for text in drawn.texts if text in labels] == [*labels, *labels]


def test_light_and_dark_are_the_same_figure(made: Make) -> None:
    import vl_convert

    (figure, *_) = figures_of(made([{"shots": 4}, {"shots": 8}], score))
    light, dark = (vl_convert.vegalite_to_svg(sized(themed(figure.spec, one), 400)) for one in (False, True))
    assert "#1f2328" in light
    assert "#1f2328" not in dark
    assert light.count("<path") == dark.count("<path")


def test_a_large_comparison_is_little_work_and_small(made: Make) -> None:
    axes = {"shots": (4, 8, 16, 32, 64), "r": (2, 4, 8), "init_lora_weights": (True, "pca", "pissa"),
            "learning_rate": (1e-4, 3e-4, 1e-3, 1e-2), "lora_dropout": (0.0, 0.1)}  # fmt: skip
    varied = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())][:333]
    comparison = made(varied, score)
    with cProfile.Profile() as profile:
        figures = figures_of(comparison)
    assert pstats.Stats(profile).total_calls < 500_000  # type: ignore[attr-defined]
    assert len(figures) > 12
    assert sum(len(json.dumps(one.spec)) for one in figures) < 2_000_000


def test_the_script_is_put_together_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    import vl_convert

    made: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: made.append(snippet) or "const S = 1;")
    first = bundle()
    assert first == "(() => {\nconst S = 1;\n})();"
    assert bundle() == first
    assert len(made) == 1
    (file,) = cache_folder().iterdir()
    assert cache_folder().is_relative_to(tmp_path)
    for damaged in (file.read_bytes()[:-3], file.read_bytes().replace(b"S = 1", b"S = 2"), b"", b"// sha256:"):
        file.write_bytes(damaged)
        made.clear()
        assert bundle() == first
        assert len(made) == 1
    assert "is corrupt; rebuilding" in caplog.text


def test_the_script_needs_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vl_convert

    (tmp_path / "sft").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda _: "x")
    assert "x" in bundle()


def test_the_real_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script = bundle()
    assert "window.vegaEmbed=" in script
    assert len(script) > 500_000
    assert not re.search("</script|<!--", script, re.IGNORECASE)
    assert set(bundle_versions()) == {"Vega", "Vega-Lite", "vega-embed"}

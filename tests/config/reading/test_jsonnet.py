"""Jsonnet in a child: errors with their location, confined imports, limits."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sft.config.reading.jsonnet import Limits, begin_evaluation, evaluate_jsonnet
from sft.errors import ConfigError, UserError

Write = Callable[..., Path]


def failure(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        evaluate_jsonnet(path, limits)
    error = str(caught.value)
    assert "\n" not in error
    return error


def test_a_program_gives_its_value(write: Write) -> None:
    path = write("local f(x) = x * 2; { a: f(3), b: [3e-4, 1.0, null, true], c: 'äß' }", "g.jsonnet")
    assert evaluate_jsonnet(path) == {"a": 6, "b": [3e-4, 1, None, True], "c": "äß"}


@pytest.mark.parametrize(
    ("program", "location", "what"),
    [
        ("{\n  a: 1\n  b: 2\n}", ":3:3", "expected a comma before next field"),
        ("{\n  a: x,\n}", ":2:6", "Unknown variable: x"),
        ("{\n\n  a: error 'no shots',\n}", ":3:6", "no shots"),
        ("local f(x) =\n  x.a;\n{ b: f({}) }", ":2:3", "field does not exist: a"),
        ("{ a: 1 / 0 }", ":1:6", "division by zero"),
        ("local f(x) = f(x) + 1; f(1)", ":1:14", "max stack frames exceeded"),
        ("[\n", ":2:1", "unexpected end of file"),
        ("{ a: 'x' +\n function(y) y }", ":2:2", "couldn't manifest function in JSON output"),
        ("{ a: import 'lib/gird.libsonnet' }", ":1:6", '"lib/gird.libsonnet" not found'),
        ("function(x) x", ":1:1", "expected an object, got a function"),
        ("{ a: $ }", ":1:1", "max stack frames exceeded; check for endless recursion"),
        ("error ''", ":1:1", "an error without a message"),
        ("error 'elsewhere:7:7: no'", ":1:1", "elsewhere:7:7: no"),
        ("{ a: error 'two\nlines' }", ":1:6", "two lines"),
        ("{ a: std.char(55296) }", ":1:1", "lone surrogate"),
        ("error '\x1b[31m' + std.repeat('x', 1000000)", ":1:1", "\\u001b[31mxxx"),
    ],
)
def test_an_error_has_its_location(program: str, location: str, what: str, write: Write) -> None:
    path = write(program, "g.jsonnet")
    error = failure(path)
    assert what in error
    assert error.startswith(f"{path}{location}: ")
    assert len(error) < 1000


def test_an_error_in_an_imported_file_has_that_location(write: Write) -> None:
    write("{ f(x):: error 'bad ' + x }", "parts/a.libsonnet")
    path = write("local a = import 'parts/a.libsonnet';\n{ b: a.f('y') }", "g.jsonnet")
    assert failure(path) == f"{path.parent}/parts/a.libsonnet:1:10: bad y"


def test_an_error_of_the_shipped_library_has_the_grid_s_location(write: Write) -> None:
    path = write("local grid = import 'lib/grid.libsonnet';\ngrid({}, vary={ 'a': 3 })", "g.jsonnet")
    assert re.match(r":\d:1: grid: vary\['a'\] must be a list", failure(path).removeprefix(str(path)))


def test_imports_of_the_grid_s_tree_and_the_shipped_library(write: Write) -> None:
    write("{ x: 1 }", "parts/a.libsonnet")
    write("(import 'a.libsonnet') { y: importstr '../text.txt' }", "parts/b.libsonnet")
    write("hello", "text.txt")
    path = write(
        "local grid = import 'lib/grid.libsonnet'; { b: import 'parts/b.libsonnet', c: std.type(grid) }", "g.jsonnet"
    )
    assert evaluate_jsonnet(path) == {"b": {"x": 1, "y": "hello"}, "c": "function"}


def test_an_own_library_comes_before_the_shipped_one(write: Write) -> None:
    write("'mine'", "lib/grid.libsonnet")
    assert evaluate_jsonnet(write("{ a: import 'lib/grid.libsonnet' }", "g.jsonnet")) == {"a": "mine"}


def test_a_relative_path_from_the_working_directory(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("1", "sub/a.libsonnet")
    path = write("{ a: import 'a.libsonnet' }", "sub/g.jsonnet")
    monkeypatch.chdir(path.parent.parent)
    assert evaluate_jsonnet(Path("sub/g.jsonnet")) == {"a": 1}
    monkeypatch.chdir(path.parent)
    assert evaluate_jsonnet(Path("g.jsonnet")) == {"a": 1}


@pytest.mark.parametrize("how", ["import", "importstr", "importbin"])
@pytest.mark.parametrize("target", ["/etc/hostname", "../secret.txt", "link.txt", "folder/secret.txt"])
def test_nothing_else_is_imported(how: str, target: str, write: Write) -> None:
    path = write(f"{{ a: {how} '{target}' }}", "grids/g.jsonnet")
    secret = write("'secret'", "secret.txt")
    (path.parent / "link.txt").symlink_to(secret)
    (path.parent / "folder").symlink_to(secret.parent)
    assert "is outside the grid's folder" in failure(path)


def test_a_grid_behind_a_link_finds_its_neighbours(write: Write, tmp_path: Path) -> None:
    write("1", "real/a.libsonnet")
    path = write("{ a: import 'a.libsonnet' }", "real/g.jsonnet")
    (tmp_path / "g.jsonnet").symlink_to(path)
    (tmp_path / "b.libsonnet").write_text("2")
    assert evaluate_jsonnet(path) == {"a": 1}
    (tmp_path / "folder").symlink_to(path.parent)
    assert evaluate_jsonnet(tmp_path / "folder" / "g.jsonnet") == {"a": 1}


def test_bytes_that_are_not_text_are_refused(write: Write) -> None:
    path = write("1", "g.jsonnet")
    path.write_bytes(b"{\n a: '\xff' }")
    assert failure(path) == f"{path}:2:6: expected UTF-8 text without NUL characters"


@pytest.mark.parametrize(
    "program",
    [
        "local f(x) = f(x + 1) tailstrict; f(0)",
        "local f(s, n) = if n == 0 then s else f(s + s, n - 1); { a: f('ab', 60) }",
        "std.makeArray(1e9, function(i) i)",
        "{ a: std.repeat('x', 1e9) }",
    ],
)
def test_an_endless_program_is_stopped(program: str, write: Write) -> None:
    path = write(program, "g.jsonnet")
    assert " evaluation exceeded " in failure(path, Limits(cpu_seconds=1, memory_bytes=256 << 20))


def test_a_large_result_is_refused(write: Write) -> None:
    path = write("local a = importstr 'a.txt'; { a: a + a }", "g.jsonnet")
    write("x" * (3 << 19), "a.txt")
    assert failure(path, Limits(output_bytes=2 << 20)) == f"{path}:1:1: the result is larger than 2 MiB"
    assert len(evaluate_jsonnet(path)["a"]) == 3 << 20


def test_limits_grow_with_the_experiments_that_are_allowed() -> None:
    assert Limits.for_grid(1000) == Limits()
    assert Limits.for_grid(100_000).cpu_seconds > 10 * Limits().cpu_seconds


def test_traces_of_a_program_are_logged(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write(
        "{ a: std.trace('here \\u001b[31m', 1), b: [std.trace('x', i) for i in std.range(1, 100)] }", "g.jsonnet"
    )
    with caplog.at_level(logging.INFO, "sft"):
        assert evaluate_jsonnet(path)["a"] == 1
    assert len(caplog.messages) == 20
    assert caplog.messages[0] == f"{path}:1 here \\u001b[31m"


def test_endless_traces_are_limited(write: Write) -> None:
    path = write(
        "local x = std.repeat('x', 10000);\nstd.foldl(function(a, i) std.trace(x, a), std.range(1, 400), {})",
        "g.jsonnet",
    )
    assert evaluate_jsonnet(path) == {}


def test_no_room_for_another_process_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    (tmp_path / "grid.jsonnet").write_text("{}")
    monkeypatch.setattr("subprocess.Popen", refuse)
    with pytest.raises(UserError, match=r"grid.jsonnet: cannot start the process .*: .*; raise the limit"):
        begin_evaluation(tmp_path / "grid.jsonnet", 10)

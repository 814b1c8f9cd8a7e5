"""More than 200 harmful Jsonnet programs: each is refused quickly with a clear message and a location.

Endless loops, memory bombs, huge grids, imports of foreign files, values that are not configs. Each runs through
`validate`, evaluated in the real child with its real limits.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

BASE = (
    "{ dataset: { path: 'org/data', task_type: 'classification', shots: 4 }, model: { name: 'org/m' }, lora: { r: 8 }, "
    "prompting: { input_columns: ['text'], output_column: 'label' }, training: {}, inference: {} }"
)
SIMPLE: dict[str, list[str]] = json.loads(Path(__file__).with_name("programs.json").read_text(encoding="utf-8"))
GRID = "local grid = import 'lib/grid.libsonnet';\n"


class Program(NamedTuple):
    """A program; `slow` if only the time limit ends it."""

    what: str
    text: str | bytes
    slow: bool = False


def endless() -> Iterator[Program]:
    for text in (
        "local f(x) = f(x + 1) + 1; f(0)",
        "local f(x) = g(x), g(x) = f(x); { a: f(1) }",
        "local a = b, b = a; a",
        "{ a: self.a }",
        "{ a: self.b, b: self.a }",
        "{ a: $ }",
        "{ a: { b: $.a } }",
        "local l(x) = [x, l(x + 1)]; l(0)",
        "local l(x) = { v: x, next: l(x + 1) }; l(0)",
        "local a = [a[0]]; a",
        "local s = s + 'x'; s",
        "{ a: 'x' + self.a }",
        "{ assert self.a, a: self.a }",
        "{ ['x' + k]: $[k] for k in ['a'] } + { a: self.xa }",
        "local y(f) = f(f); y(y)",
        "local f(x) = [f(y) for y in [x]]; f(1)",
        "std.foldl(function(a, b) a + std.foldl(function(c, d) c, [b], a), [1], error 'start')",
        "local o = { f(x): self.f(x + 1) + 0 }; o.f(0)",
    ):
        yield Program("endless", text)
    for text in (
        "local f(x) = f(x + 1) tailstrict; f(0)",
        "local f(x) = g(x + 1) tailstrict, g(x) = f(x - 1) tailstrict; f(0)",
        "local f(n) = if n < 2 then n else f(n - 1) + f(n - 2); { a: f(60) }",
        "local f(x) = std.trace('round %d' % x, f(x + 1)) tailstrict; f(0)",
        "local f(x) = if std.md5(x) == '' then x else f(x + 'x') tailstrict; f('')",
        "local f(m, n) = if m == 0 then n + 1 else if n == 0 then f(m - 1, 1) else f(m - 1, f(m, n - 1)); f(4, 1)",
        "local o = std.foldl(function(a, i) a + { x: super.x + self.y, y: i }, std.range(1, 400), { x: 1, y: 1 }); o",
        "{ a: std.foldl(function(a, i) std.foldl(function(b, j) b + j, std.range(1, 1e4), a), std.range(1, 1e6), 0) }",
    ):
        yield Program("without end in time", text, slow=True)


def bombs() -> Iterator[Program]:
    for n in (40, 60, 100):
        yield Program(
            "doubled", f"local f(s, n) = if n == 0 then s else f(s + s, n - 1); {{ a: f('ab', {n}) }}", slow=True
        )
        yield Program("doubled list", f"std.foldl(function(a, i) a + a, std.range(1, {n}), ['x'])", slow=True)
        yield Program(
            "doubled object", f"std.foldl(function(a, i) {{ x: a, y: a }}, std.range(1, {n}), {{}})", slow=True
        )
    for size in ("1e8", "1e9", "1e12", "1e18"):
        yield Program("repeat", f"{{ a: std.repeat('x', {size}) }}", slow=size == "1e8")
        yield Program("repeat list", f"{{ a: std.repeat([0], {size}) }}", slow=True)
        yield Program("range", f"{{ a: std.range(0, {size}) }}", slow=True)
        yield Program("makeArray", f"{{ a: std.makeArray({size}, function(i) i) }}", slow=True)
        yield Program("join", f"{{ a: std.join('-', std.makeArray({size}, function(i) 'x')) }}", slow=True)
        yield Program("width", f"{{ a: '%{int(float(size))}d' % 1 }}", slow=True)
        yield Program("slice", f"{{ a: std.range(0, 9)[0:{size}:1e-9] }}", slow=True)
    yield Program("three loops",
        "{ a: [x + y + z for x in std.range(1, 1000) for y in std.range(1, 1000) for z in std.range(1, 1000)] }",
        True)  # fmt: skip
    lol = ", ".join(f"l{n} = [{', '.join([f'l{n - 1}'] * 10)}]" for n in range(1, 10))
    yield Program("laughs", f"local l0 = 'lol', {lol}; {{ a: l9 }}", slow=True)
    yield Program("large text", "local a = std.repeat('x', 3e7); { a: a, b: a, c: a }", slow=True)
    yield Program("sorted", "{ a: std.sort(std.makeArray(3e6, function(i) std.md5('%d' % i))) }", slow=True)


def deep() -> Iterator[Program]:
    for n in (90, 400, 3000, 100_000):
        yield Program("deep lists", "[" * n + "]" * n, slow=n == 100_000)
        yield Program("deep objects", "{a:" * n + "1" + "}" * n, slow=n == 100_000)
        yield Program("deep brackets", "(" * n + "1" + ")" * n, slow=n == 100_000)
        yield Program("deep value", f"{{ a: std.foldl(function(a, i) [a], std.range(1, {n}), 0) }}", slow=n == 100_000)
    yield Program("many operators", "!" * 50_000 + "true", slow=True)
    yield Program("many sums", "{ a: " + "+".join(["'x'"] * 30_000) + " }")
    yield Program("many locals", "local a = 1; " * 20_000 + "a")
    yield Program("many ifs", "if true then " * 20_000 + "1")


def huge_grids() -> Iterator[Program]:
    for n in (10_001, 20_000, 100_000, 10**7):
        yield Program("huge grid", f"{{ configs: {{ ['n%d' % i]: {BASE} for i in std.range(1, {n}) }} }}", slow=True)
    yield Program(
        "seeds", f"{{ configs: {{ ['n%d' % i]: {BASE} for i in std.range(1, 400) }}, seeds: std.range(1, 400) }}"
    )
    yield Program("all seeds", f"{{ configs: {{ a: {BASE} }}, seeds: std.range(1, 100000) }}")
    for axes, values in ((5, 10), (12, 3), (40, 2)):
        vary = ", ".join(f"'training.trainer_args.x{n}': std.range(1, {values})" for n in range(axes))
        yield Program("many axes", f"{GRID}grid({BASE}, vary={{ {vary} }})", slow=True)


def foreign() -> Iterator[Program]:
    paths = (
        "/etc/hostname", "/etc/passwd", "../secret.txt", "../../secret.txt", "link.txt", "folder/secret.txt", ".", "..",
        "folder", "/", "fifo", "/dev/zero", "/dev/stdin", "/dev/fd/0", "/proc/self/environ", "nowhere.libsonnet", "",
        "x" * 5000, "http://example.org/a.libsonnet", "~/secret.txt", "./././../secret.txt", "a\\u0000b", "loop-link",
    )  # fmt: skip
    for path in paths:
        yield Program("import", f"{{\n  a: import '{path}',\n}}")
        yield Program("importstr", f"{{\n  a: importstr '{path}',\n}}")
    yield Program("computed", "local p = '/etc/' + 'hostname'; { a: importstr p }")
    yield Program("loop", "import 'loop.libsonnet'")
    yield Program("itself", "(import 'g.jsonnet') + {}")
    yield Program("broken", "import 'broken.libsonnet'")
    yield Program("binary", "import 'binary.libsonnet'")
    yield Program("binary text", "{ a: importstr 'binary.libsonnet' }")
    yield Program("external", "{ a: std.extVar('HOME') }")
    yield Program("native", "{ a: std.native('system')('ls') }")


def errors() -> Iterator[Program]:
    for text in SIMPLE["error"]:
        yield Program("error", text)


def no_programs() -> Iterator[Program]:
    for text in SIMPLE["syntax"]:
        yield Program("syntax", text)
    for content in (
        b"\xff\xfe{\x00}\x00", "{ a: 'é' }".encode("latin-1"), b"\x00", b"{ a: '\x00' ", b"\x7fELF\x01",
        b"{\n\n a: '\xff' }",
        "{ a: 1 } }".encode("utf-16"), b"\xed\xa0\x80", b"\xef\xbb\xbf}",
    ):  # fmt: skip
        yield Program("bytes", content)


def no_configs() -> Iterator[Program]:
    for text in SIMPLE["no config"]:
        slow = "1, 2000" in text or "1, 3000" in text
        yield Program("no config", text.replace("%s", BASE).replace("%%", "%"), slow)


def misused_grids() -> Iterator[Program]:
    for call in SIMPLE["misused grid"]:
        yield Program("misused grid", GRID + call.replace("BASE", BASE), slow="11000" in call)


PROGRAMS = [
    *endless(), *bombs(), *deep(), *huge_grids(), *foreign(), *errors(), *no_programs(), *no_configs(),
    *misused_grids(),
]  # fmt: skip


@pytest.fixture
def grids(here: Path) -> Path:
    """Return a folder with files that a program must not import."""
    (here.parent / "secret.txt").write_text("'secret'")
    (here.parent.parent / "secret.txt").write_text("'secret'")
    (here / "link.txt").symlink_to("../secret.txt")
    (here / "folder").symlink_to("..")
    (here / "loop-link").symlink_to("loop-link")
    os.mkfifo(here / "fifo")
    (here / "loop.libsonnet").write_text("import 'loop2.libsonnet'")
    (here / "loop2.libsonnet").write_text("import 'loop.libsonnet'")
    (here / "broken.libsonnet").write_text("{\n a: }")
    (here / "binary.libsonnet").write_bytes(b"\x7fELF\xff\xfe")
    return here


QUICK = [program for program in PROGRAMS if not program.slow]
# In every run of the tests: of each kind the first, and every fourth after it.
SHORT = [one for kind in dict.fromkeys(p.what for p in QUICK) for one in [p for p in QUICK if p.what == kind][::4]]


@pytest.mark.parametrize(
    "programs",
    [SHORT, pytest.param([program for program in PROGRAMS if program not in SHORT], marks=pytest.mark.long)],
    ids=["quick", "long"],
)
def test_a_harmful_program_is_refused_clearly(
    programs: list[Program], grids: Path, refusal: Callable[..., str | None]
) -> None:
    assert len(PROGRAMS) >= 200
    for program in programs:
        text = program.text if isinstance(program.text, bytes) else program.text.encode("utf-8")
        (grids / "g.jsonnet").write_bytes(text)
        try:
            message = refusal("validate", "g.jsonnet")
            assert message is not None
            assert "secret" not in message.replace("secret.txt", "")
        except BaseException as error:
            error.add_note(f"{program.what}: {text[:200]!r}")
            raise
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3 << 20  # KiB
    assert not [child for child in psutil.Process().children() if "jsonnet_child" in " ".join(child.cmdline())]


def test_a_child_ends_with_its_evaluation(grids: Path) -> None:
    from sft.config.reading.jsonnet import begin_evaluation

    (grids / "g.jsonnet").write_text("local f(x) = f(x + 1) tailstrict; f(0)")
    before = set(psutil.Process().children())
    begun = begin_evaluation(grids / "g.jsonnet", 10)
    assert begun is not None
    (child,) = set(psutil.Process().children()) - before
    del begun
    assert not psutil.pid_exists(child.pid)

"""Broken configs of every kind: each is valid, or refused quickly in a few clear lines with a location.

The seeded mutations start from the shipped configs and a minimal one: wrong values, keys and names, truncated or
changed text. Each file runs through `validate` and `run-experiments --dry-run`.
"""

from __future__ import annotations

import codecs
import copy
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

COUNT = 2000
QUICK = 600  # so many in every run of the tests
COMMANDS = (["validate"], ["run-experiments", "--dry-run"])

# Placeholders for values that Python cannot dump to JSON.
DEEP, LARGE, HUGE = "@DEEP@", "@LARGE@", "@HUGE@"


class Case(NamedTuple):
    """A file: its mutations and its bytes."""

    what: str
    content: bytes


# ---- values and names ------------------------------------------------------------------------------------------------

NAMES = (
    "", " ", "..", "../../etc/passwd", "/etc/passwd", "a/b", "a\nb", "a\x1b[31mred\x1b[0m", "a\x00b", "\u202eevil",
    "a\tb",
    "שלום", "CON", ".", "~", "-rf", "a" * 300, "\ud800", "a:b", "a.b", "configs", "é" * 200, "🙂", "\u2028", "%s%n{}",
    "$HOME",
)  # fmt: skip
WRONG: tuple[Any, ...] = (
    None, True, False, 0, -1, 3, 2**32, 2**63, 10**400, -(10**400), 0.5, -0.0, 1e308, "", "x", "8", "auto", "all",
    "none",
    [], [None], [[]], {}, {"": None}, {"a": {"b": []}}, float("nan"), float("inf"), float("-inf"), DEEP, LARGE, HUGE,
    ["a", "a"], [1, "a", None], {"peft_type": "LORA"}, {"name": 3}, *NAMES,
)  # fmt: skip
PATHS = (
    "/", "/dev/zero", "/dev/stdin", "/dev/fd/0", "/proc/self/mem", "/proc", "/sys", "/dev", "..", ".", "./", "~root/x",
    "~/",
    "~nobody-here/x", "/**/*", "/**/nope*", "**", "*", "[", "[!", "./[a-", "file:///etc/passwd", "s3://a b/c",
    "http://",
    "://", "a" * 5000 + "/b", "./" + "a/" * 3000, "\\\\server\\share", "nul\x00.csv", "./x\n.csv", "/etc/shadow",
    "./\ud800.csv",
)  # fmt: skip


def keys_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path, keys and positions, of every value in a config."""
    if path:
        yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield from keys_of(item, (*path, key))


def parent_of(config: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        config = config[key]
    return config


def any_object(config: Any, rng: random.Random) -> dict[str, Any]:
    objects = [config, *(o for path in keys_of(config) if isinstance(o := parent_of(config, (*path, "")), dict))]
    return rng.choice(objects)


def random_key(config: Any, rng: random.Random) -> tuple[Any, Any]:
    """Return a random container and a key in it; a new key for an empty config."""
    path = rng.choice(list(keys_of(config)) or [("dataset",)])
    return parent_of(config, path), path[-1]


def size(rng: random.Random) -> int:
    """Return the length of a very long text."""
    return rng.choice([300, 5000, 5000, 100_000, 1_000_000])


def typo(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return rng.choice([text[:at] + text[at + 1 :], text[:at] + "x" + text[at:], text.upper(), text[::-1], text + "s"])


# ---- changes of the data ---------------------------------------------------------------------------------------------


def wrong_value(config: dict[str, Any], rng: random.Random) -> None:
    container, key = random_key(config, rng)
    container[key] = rng.choice(WRONG)


def deleted_key(config: dict[str, Any], rng: random.Random) -> None:
    container, key = random_key(config, rng)
    if not isinstance(container, dict) or key in container:
        del container[key]


def renamed_key(config: dict[str, Any], rng: random.Random) -> None:
    section = any_object(config, rng)
    if section:
        key = rng.choice(list(section))
        section[rng.choice([typo(key, rng), rng.choice(NAMES), "k" * size(rng)])] = section.pop(key)


def added_key(config: dict[str, Any], rng: random.Random) -> None:
    section = any_object(config, rng)
    known = ("shots", "r", "lr", "batch_size", "seeds", "configs", "max_length", "epochs", "torch_dtype", "metrics")
    section[rng.choice([*known, *NAMES])] = rng.choice(WRONG)


def moved_section(config: dict[str, Any], rng: random.Random) -> None:
    container, key = random_key(config, rng)
    value = container[key] if isinstance(container, list) or key in container else {}
    any_object(config, rng)[str(key)] = copy.deepcopy(value)


def wrong_path(config: dict[str, Any], rng: random.Random) -> None:
    section, key = rng.choice(
        [("dataset", "path"), ("model", "name"), ("model", "adapter"), ("model", "chat_template_from"),
         ("inference", "tokenizer_name"), ("evaluation", "tokenizer_name"), ("dataset", "args")]
    )  # fmt: skip
    path: Any = rng.choice(PATHS)
    if key == "args":
        config["dataset"] = {**any_section(config, "dataset"), "path": rng.choice(["csv", "json", ".", "/etc"])}
        path = {
            rng.choice(["data_files", "data_dir"]): rng.choice([path, [path], {"train": path}, {"train": [path, 3]}])
        }
    config[section] = {**any_section(config, section), key: path}


def any_section(config: dict[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def wrong_plug(config: dict[str, Any], rng: random.Random) -> None:
    plugs = ("a:b", ":", "a:", ":b", "a.b.c:d", "..:x", "os:system", "json", "evaluate:", "evaluate:../x", "evaluate:/",
             "sft:x", "a" * 4000 + ":b", "\x00:x", "a/b:c", "é:ü", "evaluate:/dev/zero", "\ud800:x",
             "evaluate:" + "a" * 5000)  # fmt: skip
    section, key = rng.choice([("lora", "init_lora_weights"), ("training", "method"), ("evaluation", "metrics")])
    plug = rng.choice(plugs)
    config[section] = {**any_section(config, section), key: [plug, plug] if key == "metrics" else plug}


def wrong_seed(config: dict[str, Any], rng: random.Random) -> None:
    config[rng.choice(["seed", "seeds"])] = rng.choice(
        [
            *WRONG,
            [13, 13],
            [13, "14"],
            ["13"],
            [True],
            [-1],
            [2**32],
            [1.0],
            {"init": -1},
            {"icl": "x"},
            {"shotz": 1},
            [10**400],
        ]
    )


def many(config: dict[str, Any], rng: random.Random) -> None:
    """Make very many problems, which must fit in a few lines."""
    count = rng.choice([300, 3000, 20_000])
    kind = rng.randrange(4)
    if kind == 0:
        any_object(config, rng).update({f"key_{n}": n for n in range(count)})
    elif kind == 1:
        config["prompting"] = {**any_section(config, "prompting"), "input_columns": list(range(count))}
    elif kind == 2:
        labels = [f"l{n % (count // 2)}" for n in range(count)]
        config["dataset"] = {**any_section(config, "dataset"), "labels": labels, "task_type": "classification"}
        config["prompting"] = {**any_section(config, "prompting"), "verbalizers": dict.fromkeys(labels, "same")}
    else:
        config["training"] = {"trainer_args": {f"learning_rat{n}": n for n in range(count)}}


def grid_of(config: dict[str, Any], rng: random.Random) -> None:
    """Move the config into `configs`, in a right or a wrong shape."""
    inner = {key: config.pop(key) for key in list(config)}
    shapes: list[Any] = [
        {rng.choice(NAMES): inner}, {"a": inner, rng.choice(NAMES): inner}, [inner], inner,
        {"a": {"configs": {"b": inner}}},
        {}, None, "a", 3, {"a": None}, {"a": []}, {"a": inner, "b": {**inner, "seed": 3}}, dict.fromkeys(NAMES, inner),
        {f"n{n}": inner for n in range(200)}, {f"n{n}": {**inner, "shotz": n} for n in range(300)},
    ]  # fmt: skip
    config["configs"] = rng.choice(shapes)
    if rng.random() < 0.3:
        config["seeds"] = rng.choice([[1, 2], [1, 1], "13", {"init": 3}, [], [10**400], list(range(200))])


CHANGES: tuple[Callable[[dict[str, Any], random.Random], None], ...] = (
    wrong_value, wrong_value, wrong_value, deleted_key, renamed_key, added_key, moved_section, wrong_path, wrong_plug,
    wrong_seed, grid_of,
)  # fmt: skip


# ---- changes of the text ---------------------------------------------------------------------------------------------


def cut(text: bytes, rng: random.Random) -> bytes:
    return text[: rng.randrange(len(text) + 1)]


def flipped(text: bytes, rng: random.Random) -> bytes:
    changed = bytearray(text)
    for _ in range(rng.choice([1, 1, 3, 30])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def spliced(text: bytes, rng: random.Random) -> bytes:
    pieces = (b"{", b"}", b"[", b'"', b",", b":", b"\\", b"\\u", b"\\ud83d", b"NaN", b"-Infinity", b"1e999", b"\x00",
        b"//x\n",
              b"/*", b"'", b"\xff", b"\xed\xa0\x80", b"01", b"+1", b".5", b"0x1", b"nul", b"\x1b[2J", b"9" * 5000,
              b"\xc2\x85")  # fmt: skip
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(pieces) + text[at:]


def repeated_key(text: bytes, rng: random.Random) -> bytes:
    keys = list(re.finditer(rb'"\w+": ', text))
    if not keys:
        return text + text
    key = rng.choice(keys)
    return text[: key.start()] + key.group() + b"null, " + text[key.start() :]


def otherwise_encoded(text: bytes, rng: random.Random) -> bytes:
    decoded = text.decode("utf-8", errors="replace")
    return rng.choice(
        [codecs.BOM_UTF8 + text, decoded.encode("utf-16"), decoded.encode("utf-16-le"), decoded.encode("utf-32"),
         text.replace(b"e", "é".encode("latin-1")), text.replace(b"\n", b"\r"), codecs.BOM_UTF8 * 2 + text]
    )  # fmt: skip


def no_config(text: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        [b"", b" ", b"\n\n", b"null", b"3", b'"x"', b"[]", b"[" + text + b"]", b"{}", text + text, b"\x00" * 100,
        rng.randbytes(2000),
         b"\x7fELF\x02\x01", b"PK\x03\x04", b"{" * 50_000, b'{"a":' * 20_000, b"[" * 990 + b"]" * 990,
         b'"' + b"a" * 2_000_000]
    )  # fmt: skip


TEXT_CHANGES = (cut, cut, flipped, flipped, spliced, repeated_key, otherwise_encoded, no_config)


# ---- cases -----------------------------------------------------------------------------------------------------------


def spelt(config: Any, rng: random.Random) -> bytes:
    text = json.dumps(config, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 2]))
    depth = rng.choice([30, 150, 400, 900, 10_000])
    text = text.replace(f'"{DEEP}"', "[" * depth + "]" * depth).replace(f'"{LARGE}"', rng.choice(["1e999", "-1e999"]))
    text = text.replace(f'"{HUGE}"', '"' + rng.choice(["a", "\\n", "é", "\\u001b", "/"]) * size(rng) + '"')
    return text.encode("utf-8", errors="surrogatepass")


def mutated(bases: list[dict[str, Any]], number: int) -> Case:
    """Return the case of this number, the same in every run."""
    rng = random.Random(f"sft-{number}")  # noqa: S311 - a test's draw
    config = copy.deepcopy(rng.choice(bases))
    done = []
    if rng.random() < 0.02:
        many(config, rng)
        done.append("many")
    elif rng.random() < 0.75:
        for change in rng.choices(CHANGES, k=rng.choice([1, 1, 1, 2, 4])):
            change(config, rng)
            done.append(change.__name__)
    content = spelt(config, rng)
    if not done or rng.random() < 0.15:
        text_change = rng.choice(TEXT_CHANGES)
        content = text_change(content, rng)
        done.append(text_change.__name__)
    return Case(f"{number}: {' '.join(done)}", content)


# ---- messages ------------------------------------------------------------------------------------------------------


def bases(repository: Path, smallest: dict[str, Any]) -> list[dict[str, Any]]:
    shipped = sorted((repository / "etc" / "configs" / "json").glob("*.json"))
    assert shipped
    return [smallest, *(json.loads(file.read_text(encoding="utf-8")) for file in shipped)]


@pytest.mark.parametrize("numbers", [range(QUICK), pytest.param(range(QUICK, COUNT), marks=pytest.mark.long)])
def test_a_mutated_config_is_valid_or_refused_clearly(
    here: Path, repository: Path, data: dict[str, Any], refusal: Callable[..., str | None], numbers: range
) -> None:
    originals = bases(repository, data)
    path = here / "mine.json"
    refused = 0
    for number in numbers:
        case = mutated(originals, number)
        path.write_bytes(case.content)
        for command in COMMANDS:
            try:
                refused += refusal(*command, path.name) is not None
            except BaseException as error:
                error.add_note(f"case {case.what}")
                raise
    assert len(numbers) < refused < 2 * len(numbers)  # most are broken, and not all


def test_a_mutated_config_in_its_own_process(
    here: Path, repository: Path, data: dict[str, Any], check_message: Callable[[str, str], None]
) -> None:
    """Check that the command prints the message that the test above checks."""
    originals = bases(repository, data)
    for number in range(6):
        (here / "mine.json").write_bytes(mutated(originals, number).content)
        command = [sys.executable, "-m", "sft.cli", *COMMANDS[number % 2], "mine.json"]
        answer = subprocess.run(command, capture_output=True, check=False, timeout=10)
        text = answer.stderr.decode("utf-8")
        assert answer.returncode in (0, 2), text
        assert "Traceback" not in text
        if answer.returncode == 2:
            lines = [line for line in text.rstrip("\n").split("\n") if not line.startswith("warning: ")]
            check_message("\n".join(lines).removeprefix("error: "), "mine.json")

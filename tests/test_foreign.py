"""Which errors are the user's to fix: raised in a library that was called, or in the user's own code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.errors import ModelError, UserError
from sft.foreign import explained, guarded, is_foreign, one_line, users_code
from sft.registry import PluginSpec, Registry
from sft.signals import _leave


def raised(act: Callable[[], Any]) -> BaseException:
    """What `act` raises, with its stack below a frame that counts as ours."""
    try:
        act()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.fixture
def as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module counts as one of ours."""
    monkeypatch.setattr("sft.foreign._is_ours", lambda name: str(name).startswith(("sft.", __name__)))


def ours(*_: object) -> None:
    raise ValueError("of ours")


@pytest.mark.usefixtures("as_ours")
def test_only_what_a_library_raises_by_itself_is_foreign() -> None:
    assert is_foreign(raised(lambda: json.loads("{")))
    assert not is_foreign(raised(ours))
    assert not is_foreign(raised(lambda: json.loads("{}", object_hook=ours)))  # json calls us back
    assert not is_foreign(raised(lambda: int("x")))  # no frame of a library: our own call


@pytest.mark.usefixtures("as_ours")
def test_memory_that_ran_out_is_left_to_those_who_retry() -> None:
    def hook(_: object) -> None:
        raise MemoryError

    with pytest.raises(MemoryError), explained("key"):
        json.loads("{}", object_hook=hook)
    with pytest.raises(MemoryError):
        guarded(hook, "metric")(None)


@pytest.mark.usefixtures("as_ours")
def test_a_library_s_error_is_one_line_with_the_key() -> None:
    says = pytest.raises(ModelError, match=r"^lora: PEFT says: Expecting property name .*$")
    with says as caught, explained("lora: PEFT says", ModelError):
        json.loads("{\n")
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="unexpected keyword argument 'nope'"), explained("lora", ModelError):
        Path.touch(Path("x"), nope=1)  # type: ignore[call-arg]  # refused before any code of it runs
    with pytest.raises(ValueError, match="of ours"), explained("key"):
        json.loads("{}", object_hook=ours)
    with pytest.raises(json.JSONDecodeError), explained("key", of=(TypeError,)):
        json.loads("{")


def test_messages_that_say_little_name_the_type() -> None:
    assert one_line(KeyError("nope")) == "KeyError: 'nope'"
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(RuntimeError()) == "RuntimeError"
    assert len(one_line(ValueError("x" * 10_000))) == 401


REGISTRY = Registry("metric", (), own=PluginSpec(""))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "def it():\n    raise ValueError('no')\n",
            r'metric "plug_{}:it" raised ValueError: no \(plug_{}.py, line 2\)',
        ),
        ("import json\ndef it():\n    json.loads('{')\n", r"raised JSONDecodeError: .* \(plug_{}.py, line 3\)"),
        ("def it():\n    return {}['a']\n", r"raised KeyError: 'a' \(plug_{}.py, line 2\)"),
        ("def it(): it()\n", r"raised RecursionError: .* \(plug_{}.py, line 1\)"),
        ("def it():\n    raise SystemExit(3)\n", r"raised SystemExit: 3 \(plug_{}.py, line 2\)"),
        ("raise SystemExit\n", r"raised SystemExit \(plug_{}.py, line 1\)"),
        ("def it(:\n", r"raised SyntaxError: .*plug_{}.py, line 1\)"),
        ("import plug_absent_of_mine\n", r"raised ModuleNotFoundError: .*plug_absent_of_mine.* \(plug_{}.py, line 1\)"),
        ("it = 3\n", r"expected a function, got int"),
        ("def it(a): pass\n", r"raised TypeError: it\(\) missing 1 required positional argument: 'a'"),
    ],
)
def test_an_error_of_a_plugin_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str, request: pytest.FixtureRequest
) -> None:
    number = request.node.callspec.indices["source"]
    (tmp_path / f"plug_{number}.py").write_text(source)
    monkeypatch.setattr("sft.foreign._folders", [str(tmp_path)])
    with pytest.raises(UserError, match=message.replace("{}", str(number))) as caught:
        REGISTRY.resolve(f"plug_{number}:it")()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in sys.path


def test_a_signal_ends_a_plugin_too() -> None:
    with pytest.raises(SystemExit, match="143"), users_code("metric"):
        _leave(15, None)

"""One shape for everything pluggable: names, lazily loaded; the user's own; helpful refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.errors import UserError
from sft.registry import Registry

REGISTRY: Registry[Callable[..., Any]] = Registry("shape", {"join": "posixpath:join", "sqrt": "math:sqrt"})


@pytest.fixture
def plugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_entries_are_a_mapping_loaded_on_use() -> None:
    assert list(REGISTRY) == ["join", "sqrt"]
    assert REGISTRY["sqrt"](4.0) == 2.0
    assert REGISTRY.resolve("join")("a", "b") == "a/b"


def test_naming_an_entry_imports_nothing() -> None:
    lazy: Registry[Any] = Registry("thing", {"absent": "no_such_module_at_all:thing"})
    assert lazy.problem("absent") is None
    assert "no_such_module_at_all" not in sys.modules


def test_an_unknown_name_lists_and_suggests() -> None:
    with pytest.raises(UserError, match=r'unknown shape "sqr"; did you mean "sqrt"\? \(known: join, sqrt; or "module:'):
        REGISTRY.resolve("sqr")


def test_a_plug_of_the_user(plugs: Path) -> None:
    (plugs / "my_plug.py").write_text("def double(x):\n    return 2 * x\n")
    assert REGISTRY.resolve("my_plug:double")(4) == 8
    with pytest.raises(UserError, match='module "my_plug" has no "triple"'):
        REGISTRY.resolve("my_plug:triple")


def test_an_absent_module_is_told_from_a_broken_one(plugs: Path) -> None:
    with pytest.raises(UserError, match='no module "no_such_plug"'):
        REGISTRY.resolve("no_such_plug:f")
    (plugs / "broken_plug.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(UserError, match=r"ModuleNotFoundError: .*not_installed_anywhere.* \(broken_plug.py, line 1\)"):
        REGISTRY.resolve("broken_plug:f")


def test_asking_whether_a_name_is_there_imports_nothing() -> None:
    absent: Registry[object] = Registry("thing", {"one": "no_such_module:one"})
    assert "one" in absent
    assert "two" not in absent

"""One shape for everything pluggable: names, lazily loaded; the user's own; helpful refusals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sft.errors import UserError
from sft.registry import PluginSpec, Registry

SPECS = (PluginSpec("join", "posixpath:join", "of paths"), PluginSpec("sqrt", "math:sqrt"))
REGISTRY = Registry("shape", SPECS, own=PluginSpec(""))


@pytest.fixture
def plugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_specs_by_name_and_plugins_loaded_on_use() -> None:
    assert list(REGISTRY) == ["join", "sqrt"]
    assert REGISTRY["sqrt"].target == "math:sqrt"
    assert REGISTRY.resolve("sqrt")(4.0) == 2.0
    assert REGISTRY.resolve("join")("a", "b") == "a/b"


def test_what_is_known_of_a_users_own() -> None:
    own = PluginSpec("", summary="unknown")
    registry = Registry("shape", SPECS, own=own)
    assert registry.spec("sqrt") is SPECS[1]
    assert registry.spec("mine:shape") is own
    assert registry.described == 'join (of paths), sqrt; or "module:function"'


def test_naming_an_entry_imports_nothing() -> None:
    lazy = Registry("thing", (PluginSpec("absent", "no_such_module_at_all:thing"),), own=PluginSpec(""))
    assert lazy.problem("absent") is None
    assert "no_such_module_at_all" not in sys.modules


def test_an_unknown_name_lists_and_suggests() -> None:
    with pytest.raises(UserError, match=r'unknown shape "sqr"; did you mean "sqrt"\? \(known: join, sqrt; or "module:'):
        REGISTRY.resolve("sqr")


def test_a_plugin_of_the_user(plugs: Path) -> None:
    (plugs / "my_plug.py").write_text("def double(x):\n    return 2 * x\n")
    assert REGISTRY.resolve("my_plug:double")(4) == 8
    with pytest.raises(UserError, match='module "my_plug" has no "triple"'):
        REGISTRY.resolve("my_plug:triple")


def test_an_absent_and_a_broken_module_have_different_messages(plugs: Path) -> None:
    with pytest.raises(UserError, match='no module "no_such_plug"'):
        REGISTRY.resolve("no_such_plug:f")
    (plugs / "broken_plug.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(UserError, match=r"ModuleNotFoundError: .*not_installed_anywhere.* \(broken_plug.py, line 1\)"):
        REGISTRY.resolve("broken_plug:f")


def test_looking_up_a_name_imports_nothing() -> None:
    absent = Registry("thing", (PluginSpec("one", "no_such_module:one"),), own=PluginSpec(""))
    assert "one" in absent
    assert "two" not in absent


def test_an_error_in_the_constructor_of_a_users_class_is_one_line(plugs: Path) -> None:
    (plugs / "class_plug.py").write_text("class Own:\n    def __init__(self, *, level):\n        self.level = level\n")
    make = REGISTRY.resolve("class_plug:Own")
    assert make(level=3).level == 3
    with pytest.raises(UserError, match=r'shape "class_plug:Own" raised TypeError: .*unexpected keyword argument'):
        make(levle=3)

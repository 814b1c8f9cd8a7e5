"""Dict configs become files. Errors name the config, not the temporary file."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from sft.api.inputs import config_file
from sft.errors import ConfigError, Problem


def test_a_path_stays_the_callers_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text("{}")
    with config_file(str(file)) as found:
        assert found == file
    assert file.exists()


def test_a_dict_is_a_file_for_its_owner_only_while_it_is_used() -> None:
    config = {"a": Path("x"), "n": np.int64(3), "x": np.float32(0.5), "sub": MappingProxyType({"b": [True, None, "é"]})}
    with config_file(config) as found:
        assert json.loads(found.read_text(encoding="utf-8")) == {
            "a": "x", "n": 3, "x": 0.5, "sub": {"b": [True, None, "é"]},
        }  # fmt: skip
        assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    assert not found.parent.exists()


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x"], ids=["object", "set", "bytes"])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^config: expected JSON values: got "), config_file({"a": value}):
        pass


def test_a_dict_that_holds_itself_is_refused() -> None:
    config: dict[str, object] = {}
    config["self"] = config
    with pytest.raises(ConfigError, match="expected JSON values"), config_file(config):
        pass


def test_errors_name_the_config_and_not_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^config: model: is missing$"), config_file({}) as path:
        raise ConfigError(str(path), [Problem("model", "is missing")])
    with pytest.raises(ConfigError, match=r"mine\.json: model"), config_file(tmp_path / "mine.json") as path:
        raise ConfigError(str(path), [Problem("model", "is missing")])

"""Code in models, templates, data, task files, quantisers and arguments: none of it runs, in any kind of process."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from wrong_payloads import JSONNET, PAYLOADS, bomb, code, module, torch_bomb
from wrong_zygote import ask

MakeConfig = Callable[..., dict[str, Any]]


def written(root: Path, make_config: MakeConfig, names: Iterable[str]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The folder and the config of each payload."""
    made = {}
    for number, name in enumerate(names):
        folder = root / str(number)
        folder.mkdir()
        config = make_config()
        PAYLOADS[name](config, folder)
        (folder / "mine.json").write_text(json.dumps(config), encoding="utf-8")
        made[name] = (folder, config)
    return made


def executed(root: Path) -> list[str]:
    return [str(found) for found in root.rglob("executed")]


def test_the_payloads_are_live(tmp_path: Path) -> None:
    import torch

    for name, act in {
        "pickle": lambda folder: pickle.loads(bomb(folder)),  # noqa: S301
        "torch": lambda folder: torch.load(_written(folder / "x.pt", torch_bomb(folder)), weights_only=False),
        "module": lambda folder: subprocess.run([sys.executable, str(_module(folder))], check=True),
        "code": lambda folder: exec(code(folder)),  # noqa: S102
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        act(folder)
        assert executed(folder), name


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _module(folder: Path) -> Path:
    module(folder)
    return folder / "evil.py"


# Tried in every run of the tests, one or two of each kind; all with --slow.
SHORT = (
    "template attr", "data template lipsum", "weights torch", "adapter pickle", "auto_map", "attention",
    "quantiser torchao", "tokenizer class", "data script", "data card", "trust as number", "weights only",
    "metric by name", "task function", "modules of optional packages",
)  # fmt: skip
ALL = pytest.param(PAYLOADS, id="all", marks=pytest.mark.long)


@pytest.mark.slow
@pytest.mark.parametrize("names", [pytest.param(SHORT, id="short"), ALL])
def test_no_payload_runs_in_the_command_itself(tmp_path: Path, make_config: MakeConfig, names: Any) -> None:
    made = written(tmp_path, make_config, names)
    answers = ask(tmp_path, [(folder, ["run-experiment", "mine.json"]) for folder, _ in made.values()])
    assert executed(tmp_path) == []
    assert {name for name, answer in zip(made, answers, strict=True) if answer.code not in (0, 2)} == set()
    shadow = [str(file) for file in tmp_path.rglob("*") if file.is_file() and b"root:x:0" in file.read_bytes()]
    assert shadow == []


@pytest.mark.long
@pytest.mark.parametrize("isolation", ["fork", "spawn", "resident"])
def test_no_payload_runs_in_a_sweep(tmp_path: Path, make_config: MakeConfig, isolation: str) -> None:
    made = written(tmp_path, make_config, PAYLOADS)
    valid = ask(tmp_path, [(folder, ["validate", "mine.json"]) for folder, _ in made.values()])
    configs = {
        str(number): {key: value for key, value in config.items() if key != "name"}
        for number, ((_, config), answer) in enumerate(zip(made.values(), valid, strict=True))
        if answer.code == 0
    }
    assert len(configs) > len(made) / 2
    for name in ("evil.py", "json.py", "torch.py", "datasets.py", "sitecustomize.py", "kernels.py"):
        module(tmp_path, name)
    (tmp_path / "grid.jsonnet").write_text(json.dumps({"configs": configs}), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "sft.cli",
        "run-experiments",
        "grid.jsonnet",
        "--isolation",
        isolation,
        "--jobs",
        "2",
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500, check=False)
    assert ended.returncode in (0, 1), ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert (tmp_path / "results" / "report.html").is_file()
    assert executed(tmp_path) == []


@pytest.mark.parametrize("name", JSONNET)
def test_no_native_of_jsonnet_reaches_further(tmp_path: Path, name: str) -> None:
    module(tmp_path)
    (tmp_path / "grid.jsonnet").write_text(JSONNET[name], encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "sft.cli", "validate", "grid.jsonnet"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "root:" not in ended.stderr
    assert executed(tmp_path) == []

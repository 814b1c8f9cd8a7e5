"""Local paths: the searched folders, the paths that become absolute, the values that are left for the Hub."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sft.config import identity
from sft.config.reading.load import parse_config
from sft.config.reading.paths import resolve_paths
from sft.errors import ConfigError
from sft.foreign import importable, plug_paths
from sft.sweep.planning.check import load_plan


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The working directory and the config's folder; both hold `both.csv`, two different files."""
    here, folder = tmp_path / "here", tmp_path / "configs"
    for parent in (here, folder):
        parent.mkdir()
        (parent / "both.csv").write_text("text,label\n")
    (here / "here.csv").write_text("")
    (folder / "beside.csv").write_text("")
    (folder / "org").mkdir()
    (folder / "org" / "local").mkdir()
    monkeypatch.chdir(here)
    return here, folder


def path_of(value: Any, folder: Path, **dataset: Any) -> tuple[Any, list[str]]:
    resolved = resolve_paths({"dataset": {"path": value, **dataset}}, folder)
    return resolved.data["dataset"]["path"], [problem.what for problem in resolved.problems]


def test_the_working_directory_comes_before_the_config(folders: tuple[Path, Path]) -> None:
    here, folder = folders
    assert path_of("both.csv", folder) == (str(here / "both.csv"), [])
    assert path_of("here.csv", folder) == (str(here / "here.csv"), [])
    assert path_of("beside.csv", folder) == (str(folder / "beside.csv"), [])
    assert path_of("./beside.csv", folder) == (str(folder / "beside.csv"), [])
    assert path_of("../configs/beside.csv", folder) == (str(folder / "beside.csv"), [])
    assert path_of(str(folder / "beside.csv"), folder) == (str(folder / "beside.csv"), [])


def test_shipped_files_are_found_from_anywhere(folders: tuple[Path, Path], repository: Path) -> None:
    resolved = path_of("etc/configs/jsonnet/demo.jsonnet", folders[1])
    assert resolved == (str(repository / "etc" / "configs" / "jsonnet" / "demo.jsonnet"), [])


@pytest.mark.parametrize("value", ["squad", "org/data", "org/data-v1.5", "hf://datasets/a/b.csv", "s3://a/b/c.csv"])
def test_hub_ids_and_urls_stay(value: str, folders: tuple[Path, Path]) -> None:
    assert path_of(value, folders[1]) == (value, [])


def test_a_folder_that_looks_like_a_hub_id_is_taken(folders: tuple[Path, Path]) -> None:
    assert path_of("org/local", folders[1]) == (str(folders[1] / "org" / "local"), [])


@pytest.mark.parametrize("value", ["./x", "/no/x", "~/no-such-x", "x.csv", "x.jsonl.gz", "a/b/c", "a\\b", "x/", "../x"])
def test_a_value_that_can_only_be_a_path_must_exist(value: str, folders: tuple[Path, Path]) -> None:
    path, problems = path_of(value, folders[1])
    assert path == value
    assert len(problems) == 1
    assert "not found" in problems[0]


def test_the_message_about_an_absent_path_names_the_folders_and_the_near_file(folders: tuple[Path, Path]) -> None:
    here, folder = folders
    [problem] = path_of("besides.csv", folder)[1]
    assert problem == f'"besides.csv" not found; searched {here}, {folder}; did you mean "beside.csv"?'
    [problem] = path_of(f"{folder}/besides.csv", folder)[1]
    assert problem == f'"{folder}/besides.csv" not found; did you mean "{folder}/beside.csv"?'
    (folder / "tables").mkdir()
    (folder / "tables" / "beside.csv").touch()
    for value in ("tables/besides.csv", "./table/beside.csv"):  # the suggestion is its path
        [problem] = path_of(value, folder)[1]
        assert problem.endswith('; did you mean "tables/beside.csv"?')
    [problem] = path_of("./table/no.csv", folder)[1]
    assert problem.endswith('; did you mean "tables"?')


def test_all_fields_that_hold_paths(folders: tuple[Path, Path]) -> None:
    data = {
        "model": {"name": "./no", "adapter": "./no", "chat_template_from": "./no"},
        "inference": {"tokenizer_name": "./no"},
        "evaluation": {"tokenizer_name": "./no"},
        "training": {"trainer_args": {"output_dir": "./no"}},
    }
    resolved = resolve_paths(data, folders[1])
    assert [problem.where for problem in resolved.problems] == [
        "model.name", "model.adapter", "model.chat_template_from", "inference.tokenizer_name",
        "evaluation.tokenizer_name",
    ]  # fmt: skip
    assert resolved.data == data


def test_files_of_a_builder_are_local(folders: tuple[Path, Path]) -> None:
    here, folder = folders
    files = {"train": ["here.csv", "beside.csv"], "test": "both.csv", "more": "*.csv", "far": "https://x.org/a.csv"}
    resolved = resolve_paths({"dataset": {"path": "csv", "args": {"data_files": files, "sep": ";"}}}, folder)
    assert resolved.problems == []
    assert resolved.data["dataset"]["args"] == {
        "data_files": {
            "train": [str(here / "here.csv"), str(folder / "beside.csv")],
            "test": str(here / "both.csv"),
            "more": str(here / "*.csv"),
            "far": "https://x.org/a.csv",
        },
        "sep": ";",
    }
    absent = resolve_paths({"dataset": {"path": "csv", "args": {"data_files": {"train": ["no"]}}}}, folder)
    assert [problem.where for problem in absent.problems] == ["dataset.args.data_files.train[0]"]


def test_files_are_relative_to_a_local_folder_and_stay_for_a_hub_id(folders: tuple[Path, Path]) -> None:
    _, folder = folders
    inside = resolve_paths({"dataset": {"path": str(folder), "args": {"data_files": "both.csv"}}}, folder)
    assert inside.data["dataset"]["args"]["data_files"] == str(folder / "both.csv")
    hub = {"dataset": {"path": "org/data", "args": {"data_files": "both.csv", "data_dir": "x/y/z"}}}
    assert resolve_paths(hub, folder) == (hub, [])


def test_the_config_holds_absolute_paths(folders: tuple[Path, Path], data: dict[str, Any]) -> None:
    data["dataset"]["path"] = "beside.csv"
    assert parse_config(data, "mine.json", folders[1]).dataset.path == str(folders[1] / "beside.csv")
    data["model"]["name"] = "./modle"
    with pytest.raises(ConfigError, match=r"model\.name: \"\./modle\" not found"):
        parse_config(data, "mine.json", folders[1])


def test_plugins_are_searched_last_and_only_while_they_run(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, folder = folders
    monkeypatch.setattr(sys, "path", ["/libraries"])
    monkeypatch.setattr("sft.foreign._folders", [])
    assert plug_paths(folder) == [str(here), str(folder)]
    plug_paths(folder)
    assert sys.path == ["/libraries"]
    with importable(), importable():
        assert sys.path == ["/libraries", str(here), str(folder)]
    assert sys.path == ["/libraries"]


@pytest.mark.parametrize(
    "value", ["/", "/*", "/**/nope*", "/proc", "/proc/self/environ", "/sys", "/dev", "/dev/zero", "~", "~/", "fifo"]
)
def test_endless_paths_are_not_read(value: str, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    here, folder = folders
    monkeypatch.setenv("HOME", str(folder))
    os.mkfifo(here / "fifo")
    _, problems = path_of(value, folder)
    assert len(problems) == 1
    assert "is not a folder of data or of a model" in problems[0] or "is neither a file nor a folder" in problems[0]


@pytest.mark.parametrize(
    "value", ["a" * 5000 + "/b.csv", "./" + "a/" * 3000, "~nobody-here/x", "./[a-", "x\x1b[31m.csv"]
)
def test_a_strange_path_is_not_found(value: str, folders: tuple[Path, Path]) -> None:
    _, (problem,) = path_of(value, folders[1])
    assert " not found" in problem
    assert problem.isprintable()
    assert len(problem) < 1000


def test_an_unreadable_file_is_reported_before_the_run(
    folders: tuple[Path, Path], write: Any, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(path: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    (folders[0] / "mine.py").touch()
    monkeypatch.setattr(identity, "hash_path", unreadable)
    data["evaluation"] = {"metrics": ["evaluate:./mine.py"]}
    with pytest.raises(ConfigError, match=r"evaluation\.metrics: .* cannot be read: Input/output error"):
        load_plan(write(data), None, None)

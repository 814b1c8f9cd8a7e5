"""Local paths: where they are looked for, what becomes absolute, what is left for the hub."""

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
from sft.sweep.check import load_plan


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The working directory and the config's folder; both hold `both.csv`, each a file of its own."""
    here, folder = tmp_path / "here", tmp_path / "configs"
    for place in (here, folder):
        place.mkdir()
        (place / "both.csv").write_text("text,label\n")
    (here / "here.csv").write_text("")
    (folder / "beside.csv").write_text("")
    (folder / "org").mkdir()
    (folder / "org" / "local").mkdir()
    monkeypatch.chdir(here)
    return here, folder


def path_of(value: Any, folder: Path, **dataset: Any) -> tuple[Any, list[str]]:
    resolved = resolve_paths({"dataset": {"path": value, **dataset}}, folder)
    return resolved.data["dataset"]["path"], [problem.what for problem in resolved.problems]


def test_the_working_directory_comes_before_the_config(places: tuple[Path, Path]) -> None:
    here, folder = places
    assert path_of("both.csv", folder) == (str(here / "both.csv"), [])
    assert path_of("here.csv", folder) == (str(here / "here.csv"), [])
    assert path_of("beside.csv", folder) == (str(folder / "beside.csv"), [])
    assert path_of("./beside.csv", folder) == (str(folder / "beside.csv"), [])
    assert path_of("../configs/beside.csv", folder) == (str(folder / "beside.csv"), [])
    assert path_of(str(folder / "beside.csv"), folder) == (str(folder / "beside.csv"), [])


def test_shipped_files_are_found_from_anywhere(places: tuple[Path, Path], repository: Path) -> None:
    found = path_of("etc/configs/jsonnet/demo.jsonnet", places[1])
    assert found == (str(repository / "etc" / "configs" / "jsonnet" / "demo.jsonnet"), [])


@pytest.mark.parametrize("value", ["squad", "org/data", "org/data-v1.5", "hf://datasets/a/b.csv", "s3://a/b/c.csv"])
def test_hub_ids_and_urls_stay(value: str, places: tuple[Path, Path]) -> None:
    assert path_of(value, places[1]) == (value, [])


def test_a_folder_that_looks_like_a_hub_id_is_taken(places: tuple[Path, Path]) -> None:
    assert path_of("org/local", places[1]) == (str(places[1] / "org" / "local"), [])


@pytest.mark.parametrize("value", ["./x", "/no/x", "~/no-such-x", "x.csv", "x.jsonl.gz", "a/b/c", "a\\b", "x/", "../x"])
def test_what_can_only_be_a_path_must_exist(value: str, places: tuple[Path, Path]) -> None:
    path, problems = path_of(value, places[1])
    assert path == value
    assert len(problems) == 1
    assert "not found" in problems[0]


def test_an_absent_path_names_the_places_and_the_near_file(places: tuple[Path, Path]) -> None:
    here, folder = places
    [problem] = path_of("besides.csv", folder)[1]
    assert problem == f'"besides.csv" not found; looked in {here}, {folder}; did you mean "beside.csv"?'
    [problem] = path_of(f"{folder}/besides.csv", folder)[1]
    assert problem == f'"{folder}/besides.csv" not found; did you mean "{folder}/beside.csv"?'
    (folder / "tables").mkdir()
    (folder / "tables" / "beside.csv").touch()
    for value in ("tables/besides.csv", "./table/beside.csv"):  # what is said is where it lies
        [problem] = path_of(value, folder)[1]
        assert problem.endswith('; did you mean "tables/beside.csv"?')
    [problem] = path_of("./table/no.csv", folder)[1]
    assert problem.endswith('; did you mean "tables"?')


def test_all_fields_that_hold_paths(places: tuple[Path, Path]) -> None:
    data = {
        "model": {"name": "./no", "adapter": "./no", "chat_template_from": "./no"},
        "inference": {"tokenizer_name": "./no"},
        "evaluation": {"tokenizer_name": "./no"},
        "training": {"trainer_args": {"output_dir": "./no"}},
    }
    resolved = resolve_paths(data, places[1])
    assert [problem.where for problem in resolved.problems] == [
        "model.name", "model.adapter", "model.chat_template_from", "inference.tokenizer_name",
        "evaluation.tokenizer_name",
    ]  # fmt: skip
    assert resolved.data == data


def test_files_of_a_builder_are_local(places: tuple[Path, Path]) -> None:
    here, folder = places
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


def test_files_of_a_local_folder_lie_in_it_and_those_of_a_hub_id_on_the_hub(places: tuple[Path, Path]) -> None:
    _, folder = places
    inside = resolve_paths({"dataset": {"path": str(folder), "args": {"data_files": "both.csv"}}}, folder)
    assert inside.data["dataset"]["args"]["data_files"] == str(folder / "both.csv")
    hub = {"dataset": {"path": "org/data", "args": {"data_files": "both.csv", "data_dir": "x/y/z"}}}
    assert resolve_paths(hub, folder) == (hub, [])


def test_the_config_holds_absolute_paths(places: tuple[Path, Path], data: dict[str, Any]) -> None:
    data["dataset"]["path"] = "beside.csv"
    assert parse_config(data, "mine.json", places[1]).dataset.path == str(places[1] / "beside.csv")
    data["model"]["name"] = "./modle"
    with pytest.raises(ConfigError, match=r"model\.name: \"\./modle\" not found"):
        parse_config(data, "mine.json", places[1])


def test_plugs_are_looked_for_last_and_only_while_they_run(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, folder = places
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
def test_what_has_no_end_is_not_read(value: str, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    here, folder = places
    monkeypatch.setenv("HOME", str(folder))
    os.mkfifo(here / "fifo")
    _, problems = path_of(value, folder)
    assert len(problems) == 1
    assert "is no folder of data or of a model" in problems[0] or "is neither a file nor a folder" in problems[0]


@pytest.mark.parametrize(
    "value", ["a" * 5000 + "/b.csv", "./" + "a/" * 3000, "~nobody-here/x", "./[a-", "x\x1b[31m.csv"]
)
def test_a_strange_path_is_not_found(value: str, places: tuple[Path, Path]) -> None:
    _, (problem,) = path_of(value, places[1])
    assert " not found" in problem
    assert problem.isprintable()
    assert len(problem) < 1000


def test_what_cannot_be_read_for_the_id_is_told(
    places: tuple[Path, Path], write: Any, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(path: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    (places[0] / "mine.py").touch()
    monkeypatch.setattr(identity, "hash_path", unreadable)
    data["evaluation"] = {"metrics": ["evaluate:./mine.py"]}
    with pytest.raises(ConfigError, match=r"evaluation\.metrics: .* cannot be read: Input/output error"):
        load_plan(write(data), None, None)

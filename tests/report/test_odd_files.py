"""Files in a results folder that no run wrote: the run is named with the reason, all other runs are shown."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from sft import pipeline
from sft.cli.main import app
from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.results.sealed import seal
from sft.results.store import ResultStore, RunFolder

Break = Callable[[RunFolder], None]


def cut(folder: RunFolder) -> None:
    file = folder.predictions_file()
    file.write_bytes(file.read_bytes()[:-7])


def emptied(folder: RunFolder) -> None:
    folder.predictions_file().write_bytes(b"")


def binary(folder: RunFolder) -> None:
    folder.predictions_file().write_bytes(os.urandom(5000))


def header_alone(folder: RunFolder) -> None:
    file = folder.predictions_file()
    file.write_bytes(file.read_bytes().split(b"\n")[0] + b"\n")


def fifo_for(name: str) -> Break:
    def change(folder: RunFolder) -> None:
        (folder.path / name).unlink(missing_ok=True)
        os.mkfifo(folder.path / name)

    return change


def folder_for(name: str) -> Break:
    def change(folder: RunFolder) -> None:
        (folder.path / name).unlink(missing_ok=True)
        (folder.path / name).mkdir()

    return change


def link_for(name: str) -> Break:
    def change(folder: RunFolder) -> None:
        secret = folder.path.parent.parent.parent / "private.txt"
        secret.write_text("the private line\n")
        (folder.path / name).unlink(missing_ok=True)
        (folder.path / name).symlink_to(secret)

    return change


def swapped(folder: RunFolder) -> None:
    file = folder.path / "label_scores.safetensors"
    tensors = load_file(file)
    save_file({name: np.ascontiguousarray(values[::-1]) for name, values in tensors.items()}, file)


def negated(folder: RunFolder) -> None:
    file = folder.path / "label_scores.safetensors"
    tensors = load_file(file)
    save_file({name: -values if values.dtype.kind == "f" else values for name, values in tensors.items()}, file)


def resealed(change: Callable[[dict[str, object]], None]) -> Break:
    """Return a change of a result together with its checksum."""

    def changed(folder: RunFolder) -> None:
        value = json.loads(folder.result_file.read_bytes())
        del value["checksum"]
        change(value)
        folder.result_file.write_text(seal(value))

    return changed


def of_before(change: Break) -> Break:
    """Return the same change in a run whose result has no hashes."""

    def changed(folder: RunFolder) -> None:
        resealed(lambda value: value.pop("files", None))(folder)
        change(folder)

    return changed


def written(name: str, content: bytes) -> Break:
    """Return a change of a file's content."""

    def change(folder: RunFolder) -> None:
        (folder.path / name).unlink(missing_ok=True)
        (folder.path / name).write_bytes(content)

    return change


def socket_for(name: str) -> Break:
    def change(folder: RunFolder) -> None:
        (folder.path / name).unlink(missing_ok=True)
        # from there, since the address of a socket has room for about a hundred characters
        with chdir(folder.path), socket.socket(socket.AF_UNIX) as server:
            server.bind(name)

    return change


BREAKS: dict[str, Break] = {
    "predictions cut": cut, "predictions empty": emptied, "predictions binary": binary, "header alone": header_alone,
    "predictions a fifo": fifo_for("predictions.tsv"), "predictions a link": link_for("predictions.tsv"),
    "predictions a folder": folder_for("predictions.tsv"), "scores swapped": swapped, "scores negated": negated,
    "scores a fifo": fifo_for("label_scores.safetensors"), "scores a link": link_for("label_scores.safetensors"),
    "result a fifo": fifo_for("result.json"), "result a link": link_for("result.json"),
    "result a folder": folder_for("result.json"),
    "result nested": lambda folder: folder.result_file.write_text("[" * 100_000) and None,
    "result empty": lambda folder: folder.result_file.write_text("") and None,
    "400 digits": resealed(lambda value: value["results"].update(accuracy=int("9" * 400))),  # type: ignore[attr-defined]
    "results of another kind": resealed(lambda value: value.update(results={"support": 7, "accuracy": [1]})),
    "timings odd": resealed(lambda value: value.update(resources={"batch_halvings": "many"})),
    "before: empty": of_before(emptied), "before: binary": of_before(binary),
    "before: header alone": of_before(header_alone), "before: fifo": of_before(fifo_for("predictions.tsv")),
    "before: link": of_before(link_for("predictions.tsv")),
    "result a socket": socket_for("result.json"), "predictions a socket": socket_for("predictions.tsv"),
    "result of numbers": written("result.json", b"9" * 5000), "result a list": written("result.json", b"[1]"),
    "result no utf-8": written("result.json", bytes(range(256))),
    "scores cut": written("label_scores.safetensors", b"\x10"),
    "scores of a huge header": written("label_scores.safetensors", b"\xff" * 64),
    "scores empty": written("label_scores.safetensors", b""),
}  # fmt: skip


def _device(folder: RunFolder, name: str) -> None:
    """Link to a device that never ends; creating a device would need privileges."""
    (folder.path / name).unlink(missing_ok=True)
    (folder.path / name).symlink_to("/dev/zero")


HARMLESS: dict[str, Break] = {
    "log a fifo": fifo_for("log.txt"), "log a link": link_for("log.txt"), "log a folder": folder_for("log.txt"),
    "prompts a fifo": fifo_for("prompts.json"), "prompts a link": link_for("prompts.json"),
    "state a fifo": fifo_for("state.json"), "config a fifo": fifo_for("config.json"),
    "prompts nested": lambda folder: (folder.path / "prompts.json").write_text("[" * 100_000) and None,
    "extra fifo": fifo_for("extra"), "extra link": link_for("extra"), "extra socket": socket_for("extra"),
    "state nested": written("state.json", b"[" * 100_000), "state a socket": socket_for("state.json"),
    "state of numbers": written("state.json", b'{"updated": ' + b"9" * 400 + b"}"),
    "log binary": written("log.txt", bytes(range(256)) * 100),
    "log a device": lambda folder: _device(folder, "log.txt"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, data_folder: Path) -> Path:
    """Three runs with scores."""
    folder = tmp_path_factory.mktemp("made")
    for instruction in ("One?", "Two?", "Three?"):
        config = {
            "dataset": {"path": str(data_folder), "task_type": "classification"},
            "model": {"name": str(model_folder)},
            "prompting": {"instruction": instruction, "input_columns": ["text"], "output_column": "label"},
            "inference": {},
        }
        experiment = Experiment(instruction, ExperimentConfig.model_validate(config))
        pipeline.run(experiment, ResultStore(folder).folder(experiment.id, experiment.slug))
    return folder


@pytest.mark.parametrize("what", [*BREAKS, *HARMLESS])
@pytest.mark.parametrize("more", [(), ("--calibration", "none")], ids=["plain", "calibration"])
def test_that_run_is_named_and_all_others_are_shown(
    made: Path, tmp_path: Path, what: str, more: tuple[str, ...]
) -> None:
    root = Path(shutil.copytree(made, tmp_path / "results"))
    folders = list(ResultStore(root).folders())
    {**BREAKS, **HARMLESS}[what](folders[-1])
    start = time.monotonic()
    answer = CliRunner().invoke(app, ["report", str(root), "--output", str(tmp_path / "out"), *more])
    assert time.monotonic() - start < 60
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.output
    assert answer.exit_code == (1 if what in BREAKS else 0), answer.output
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    text = (tmp_path / "out" / "aggregated_results.md").read_text(encoding="utf-8")
    for folder in folders[:-1]:
        result = folder.result()
        assert result is not None
        assert result.name.split()[0] in text
    assert "the private line" not in page + text + answer.output

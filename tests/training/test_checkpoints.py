"""Checkpoints on disk: only complete ones of the same training are used, and only ours are removed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from sft.errors import UserError
from sft.io import canonical_json, digest
from sft.training import checkpoints
from sft.training.checkpoints import begin, complete, newest_complete, read_marker, remove_all, remove_older

FILES = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "held/adapter_model.safetensors")


def write(work_dir: Path, step: int, work: str = "mine", files: tuple[str, ...] = FILES) -> Path:
    folder = work_dir / f"checkpoint-{step}"
    begin(folder)
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{name} at {step}")
    complete(folder, step, work, {"loss": {"since_log": (0.5).hex()}})
    return folder


def test_the_checkpoint_with_the_most_steps_is_used(tmp_path: Path) -> None:
    for step in (10, 9, 2):
        write(tmp_path, step)
    assert newest_complete(tmp_path, "mine") == tmp_path / "checkpoint-10"
    assert newest_complete(tmp_path / "none", "mine") is None
    marker = read_marker(tmp_path / "checkpoint-10")
    assert marker is not None and marker.step == 10 and marker.state == {"loss": {"since_log": "0x1.0000000000000p-1"}}
    assert set(marker.files) == set(FILES)


@pytest.mark.parametrize("name", [*FILES, "complete.json"])
def test_a_truncated_changed_or_missing_file_is_detected(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    older, newest = write(tmp_path, 1), write(tmp_path, 2)
    whole = (newest / name).read_bytes()
    generator = random.Random(0)  # noqa: S311 - no secret
    for case in range(12):
        content = bytearray(whole)
        content[generator.randrange(len(content) - 1)] ^= 1 << generator.randrange(7)
        corrupt = bytes(content) if case % 2 else whole[: generator.randrange(len(whole) - 1)]
        (newest / name).write_bytes(corrupt)
        caplog.clear()
        assert newest_complete(tmp_path, "mine") == older, corrupt
        assert len(caplog.records) == 1 and "checkpoint-2" in caplog.text
    (newest / name).unlink()
    assert newest_complete(tmp_path, "mine") == older
    (newest / name).write_bytes(whole)
    assert newest_complete(tmp_path, "mine") == newest


def test_skipped_checkpoints_are_logged_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write(tmp_path, 1)
    write(tmp_path, 2, work="another")
    begin(tmp_path / "checkpoint-3")
    (tmp_path / "checkpoint-4").mkdir()
    write(tmp_path, 5, files=FILES[:2])  # as a trainer with save_only_model leaves it
    (write(tmp_path, 6) / "scaler.pt").write_text("of another training")
    write(tmp_path, 7).rename(tmp_path / "checkpoint-8")
    (tmp_path / "checkpoint-last").mkdir()
    (tmp_path / "checkpoint-9").touch()
    assert newest_complete(tmp_path, "mine") == whole
    assert [record.message for record in caplog.records] == [
        "Skipped checkpoints: checkpoint-8 (incomplete), checkpoint-6 (scaler.pt differs from what was written), "
        "checkpoint-5 (incomplete), checkpoint-4 (incomplete), checkpoint-3 (incomplete), "
        "checkpoint-2 (from another training)"
    ]


def test_a_marker_with_a_path_outside_the_folder_is_invalid(tmp_path: Path) -> None:
    folder = write(tmp_path, 1)
    (tmp_path / "precious").write_text("mine")
    marker = json.loads((folder / "complete.json").read_text())
    marker.pop("checksum")
    marker["files"].append({"name": "../precious", "sha256": "", "size": 0})
    (folder / "complete.json").write_text(json.dumps({**marker, "checksum": digest(canonical_json(marker))}))
    assert read_marker(folder) is None
    remove_all(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_saving_again_replaces_the_whole_folder(tmp_path: Path) -> None:
    folder = write(tmp_path, 1, files=(*FILES, "scaler.pt"))
    write(tmp_path, 1)
    assert not (folder / "scaler.pt").exists()
    assert newest_complete(tmp_path, "mine") == folder


def test_removing_keeps_files_that_are_not_ours(tmp_path: Path) -> None:
    work_dir = tmp_path / ".checkpoints"
    for step in (1, 2, 3):
        write(work_dir, step)
    remove_older(work_dir, 2)
    assert sorted(path.name for path in work_dir.iterdir()) == ["checkpoint-2", "checkpoint-3"]
    (work_dir / "checkpoint-2" / "notes.txt").write_text("mine")
    (work_dir / "checkpoint-9").mkdir()
    (work_dir / "checkpoint-9" / "model.bin").write_text("mine")
    (work_dir / "README.md").write_text("mine")
    begin(work_dir / "checkpoint-4")
    (work_dir / "checkpoint-4" / "optimizer.pt").write_text("cut sh")
    remove_all(work_dir)
    left = sorted(path.relative_to(work_dir).as_posix() for path in work_dir.rglob("*") if path.is_file())
    assert left == ["README.md", "checkpoint-2/notes.txt", "checkpoint-9/model.bin"]


def test_removing_all_our_checkpoints_removes_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "work", 1)
    remove_all(tmp_path / "work")
    assert not (tmp_path / "work").exists()
    remove_all(tmp_path / "work")


def test_a_half_removed_checkpoint_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, unlink, gone = write(tmp_path, 1), Path.unlink, []

    def cut_short(path: Path, missing_ok: bool = False) -> None:
        if gone:
            raise KeyboardInterrupt
        gone.append(path)
        unlink(path)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", cut_short)
        remove_all(tmp_path)
    assert newest_complete(tmp_path, "mine") is None
    begin(folder)
    assert [path.name for path in folder.iterdir()] == [checkpoints.STARTED]


def test_a_folder_that_is_not_ours_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(UserError, match="expected a free path for a checkpoint"):
        begin(tmp_path / "checkpoint-1")

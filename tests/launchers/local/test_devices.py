"""Visible accelerators: by the variable, by nvidia-smi, and by the drivers of the system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sft.launchers.local import devices
from sft.launchers.local.devices import visible_devices
from sft.launchers.local.launcher import LocalLauncher, fork_is_safe

linux = pytest.mark.skipif(sys.platform != "linux", reason="auto forks only on Linux")


@pytest.fixture(autouse=True)
def no_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variable, the program and the driver."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(devices, "_DRIVERS", (str(tmp_path / "driver"),))


def program(folder: Path, script: str) -> None:
    """Put an `nvidia-smi` on the path."""
    file = folder / "bin" / "nvidia-smi"
    file.parent.mkdir()
    file.write_text(f"#!{sys.executable}\n{script}\n")
    file.chmod(0o755)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("MIG-1,MIG-2", ("MIG-1", "MIG-2")),
        ("", ()),
        ("-1", ()),
        ("0,,1", ("0",)),
        ("1, 0", ("1", "0")),
        ("0,-1,1", ("0",)),
        ("NoDevFiles", ()),
        ("GPU-abc", ("GPU-abc",)),
    ],
)
def test_the_variable_is_read_like_the_driver_reads_it(
    value: str, names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "print(7)")
    (tmp_path / "driver").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_devices() == names
    assert fork_is_safe() == (sys.platform == "linux" and not names)


def test_without_the_variable_the_program_lists_the_devices(tmp_path: Path) -> None:
    program(tmp_path, "import sys; assert '--query-gpu=index' in sys.argv; print('0\\n1\\n[N/A]')")
    assert visible_devices() == ("0", "1")
    assert not fork_is_safe()


@pytest.mark.parametrize("script", ["import sys; print(0); sys.exit(9)", "import time; time.sleep(60)", "\x00"])
def test_a_program_that_fails_lists_none(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "SECONDS_TO_ANSWER", 0.5)
    program(tmp_path, script)
    assert visible_devices() == ()


def test_without_a_program_there_are_none() -> None:
    assert visible_devices() == ()


@linux
def test_forking_is_safe_only_without_a_driver(tmp_path: Path) -> None:
    assert fork_is_safe()
    assert LocalLauncher(isolation="auto").isolation == "fork"
    (tmp_path / "driver").touch()
    assert visible_devices() == ()
    assert not fork_is_safe()
    assert LocalLauncher(isolation="auto").isolation == "auto"

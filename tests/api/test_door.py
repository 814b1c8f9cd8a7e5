"""The names of `import sft`: typed, documented and imported late."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sft

HEAVY = ("torch", "transformers", "datasets", "pandas", "numpy", "pydantic", "rich", "typer", "sft.api")
SECONDS = 0.05


def python(code: str, *options: str) -> str:
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = python("import json, sys, sft; dir(sft); print(json.dumps(sorted(sys.modules)))")
    assert not {name for name in HEAVY if name in json.loads(loaded)}


def test_importing_the_package_takes_milliseconds() -> None:
    def seconds() -> float:
        lines = python("import sft", "-X", "importtime").splitlines()
        (line,) = [line for line in lines if re.fullmatch(r"import time:[ \d|]+ sft", line)]
        return int(line.split("|")[1]) / 1e6

    assert min(seconds() for _ in range(3)) < SECONDS


def test_reading_results_imports_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys, sft
try:
    sft.load_results({str(tmp_path)!r})
except sft.UserError as error:
    print(error)
assert "torch" not in sys.modules
assert "transformers" not in sys.modules
"""
    assert "no runs to report" in python(code)


def test_every_name_exists_and_is_listed_once() -> None:
    assert sorted(sft.__all__) == sorted(sft._MODULES)
    assert set(sft.__all__) <= set(dir(sft))
    for name in sft.__all__:
        assert getattr(sft, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'sft' has no attribute 'nothing'"):
        sft.nothing  # noqa: B018


def test_subpackages_can_be_imported() -> None:
    assert python("from sft import errors, results; print(results.__name__, errors.UserError.__name__)") == (
        "sft.results UserError\n"
    )


def test_everything_has_a_docstring() -> None:
    for name in sft.__all__:
        value = getattr(sft, name)
        assert inspect.getdoc(value), name
        if inspect.isclass(value):
            members = {key: one for key, one in vars(value).items() if not key.startswith("_")}
            for key, one in members.items():
                if callable(one) or isinstance(one, property) or hasattr(one, "func"):
                    assert inspect.getdoc(one), f"{name}.{key}"


@pytest.mark.parametrize("name", ["run", "run_grid", "load_results", "score_labels"])
def test_functions_describe_every_argument_and_their_errors(name: str) -> None:
    function = getattr(sft, name)
    text = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^    {parameter}: ", text, flags=re.MULTILINE), parameter
    assert "Raises:\n" in text
    assert "UserError" in text


def test_the_public_names_are_typed(repository: Path, tmp_path: Path) -> None:
    code = tmp_path / "typed.py"
    code.write_text('import sft\nreveal_type(sft.run("x").metrics)\nsft.run_grid("x", job=1)\nsft.nothing\n')
    files = [code, repository / "sft" / "__init__.py", *(repository / "sft" / "api").glob("*.py")]
    options = ["--cache-dir", str(tmp_path), "--config-file=", "--follow-imports=skip", "--ignore-missing-imports"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, files)]
    output = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository).stdout
    assert 'Revealed type is "dict[str, float]"' in output.replace("builtins.", "")
    assert 'Unexpected keyword argument "job" for "run_grid"' in output
    assert 'Module has no attribute "nothing"' in output


def test_the_wheel_contains_the_typing_marker(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "sft/py.typed" in names
    assert "sft/api/running.py" in names

"""Errors: one line for one problem, aligned lines for several; they survive a process boundary."""

from __future__ import annotations

import pickle

import pytest

from sft.errors import ConfigError, MissingPackageError, Problem, SftError, UserError, did_you_mean


def test_one_problem_is_one_line() -> None:
    assert str(ConfigError("a.json", [Problem("dataset.shots", "is wrong")])) == "a.json: dataset.shots: is wrong"
    assert str(ConfigError("a.json", [Problem("", "is no object")])) == "a.json: is no object"


def test_several_problems_are_aligned() -> None:
    error = ConfigError("a.json", [Problem("a", "first"), Problem("long.key", "second")])
    assert str(error).splitlines() == ["a.json: 2 problems", "  a         first", "  long.key  second"]


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("a", [Problem("b", "c")]),
        MissingPackageError("x", "y"),
        MissingPackageError("x", "y", extra="z"),
        UserError("z"),
    ],
)
def test_errors_can_be_pickled(error: SftError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), again.exit_code) == (type(error), str(error), 2)


def test_a_missing_package_names_the_pip_line() -> None:
    assert str(MissingPackageError("init umap", "umap-learn")).endswith("pip install umap-learn")
    message = "tasks needs the package \"lm-eval\": pip install 'sft[lm-eval]'"
    assert str(MissingPackageError("tasks", "lm-eval", extra="lm-eval")) == message


def test_suggestions_are_near_or_absent() -> None:
    assert did_you_mean("shotz", ["shots", "path"]) == '; did you mean "shots"?'
    assert did_you_mean("zzz", ["shots", "path"]) == ""

"""What the check before a sweep says: the user's mistakes by experiment, a bug of ours apart from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sft import pipeline
from sft.config.experiment import Experiment


def test_a_bug_in_the_check_is_told_apart_and_stops_no_other(
    make_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = pipeline.prepare

    def stumbling(experiment: Experiment) -> Any:
        if experiment.config.prompting.instruction == "stumble":
            raise RuntimeError("a bug")
        return prepare(experiment)

    monkeypatch.setattr(pipeline, "prepare", stumbling)
    zero = {"dataset__shots": 0, "lora": None, "training": None}
    configs = {
        "stumbles": make_config(**zero, prompting__instruction="stumble", name="the first"),
        "wrong": make_config(**zero, prompting__input_columns=["tweet"]),
        "right": make_config(**zero),
    }
    request = {run_id: {"config": config, "endpoint": "run-experiment"} for run_id, config in configs.items()}
    checked = pipeline.check_data(request)
    assert checked["problems"].keys() == {"wrong"}
    assert checked["breakdown"] == "the first: RuntimeError: a bug"
    assert pipeline.check_data({"right": request["right"]}) == {"problems": {}, "breakdown": ""}


def test_neighbours_are_judged_by_their_own_settings(make_config: Callable[..., dict[str, Any]]) -> None:
    request = {
        str(length): {
            "config": make_config(dataset__shots=0, lora=None, training=None, inference={"max_seq_length": length}),
            "endpoint": "run-experiment",
        }
        for length in (12, 256)
    }
    problems = pipeline.check_data(request)["problems"]
    assert problems.keys() == {"12"}
    assert "max_seq_length is 12" in problems["12"]

"""Slots: which devices the experiments get that run at a time."""

from __future__ import annotations

import pytest

from sft.errors import UserError
from sft.sweep.slots import Slot, make_slots


def test_without_a_device_there_are_as_many_slots_as_jobs() -> None:
    assert make_slots(None, ()) == [Slot()]
    assert make_slots(3, ()) == [Slot()] * 3


def test_one_slot_per_device_by_default() -> None:
    assert [slot.devices for slot in make_slots(None, ("0", "1", "GPU-abc"))] == [("0",), ("1",), ("GPU-abc",)]
    assert [slot.devices for slot in make_slots(2, ("0", "1", "2"))] == [("0",), ("1",)]


def test_devices_are_given_in_groups_and_what_is_left_over_stays_idle() -> None:
    assert [slot.devices for slot in make_slots(None, "01234", per_experiment=2)] == [("0", "1"), ("2", "3")]


def test_a_device_may_be_shared_the_empty_ones_first() -> None:
    assert [slot.devices for slot in make_slots(3, ("0", "1"), per_device=2)] == [("0",), ("1",), ("0",)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, ("0", "1")), r"--jobs 3: the 2 visible GPUs give 2 at a time; let experiments share one"),
        ((None, (), 2), r"--gpus-per-experiment 2: no GPU is visible"),
        ((None, ("0",), 2), r"--gpus-per-experiment 2: 1 are visible \(0\)"),
    ],
)
def test_more_than_there_is_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_slots(*arguments)  # type: ignore[arg-type]

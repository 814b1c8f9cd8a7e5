"""Slots: the devices of experiments that run at the same time."""

from __future__ import annotations

import pytest

from sft.errors import UserError
from sft.sweep.planning.slots import Slot, make_slots


def test_without_a_device_there_are_as_many_slots_as_jobs() -> None:
    assert make_slots(None, ()) == [Slot()]
    assert make_slots(3, ()) == [Slot()] * 3


def test_one_slot_per_device_by_default() -> None:
    assert [slot.devices for slot in make_slots(None, ("0", "1", "GPU-abc"))] == [("0",), ("1",), ("GPU-abc",)]
    assert [slot.devices for slot in make_slots(2, ("0", "1", "2"))] == [("0",), ("1",)]


def test_devices_are_grouped_and_the_rest_stays_idle() -> None:
    assert [slot.devices for slot in make_slots(None, "01234", per_experiment=2)] == [("0", "1"), ("2", "3")]


def test_every_device_is_used_before_any_is_shared() -> None:
    assert [slot.devices for slot in make_slots(3, ("0", "1"), per_device=2)] == [("0",), ("1",), ("0",)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, ("0", "1")), r"--jobs 3: expected at most 2 for 2 visible GPUs; let experiments share GPUs"),
        ((None, (), 2), r"--gpus-per-experiment 2: no GPU is visible"),
        ((None, ("0",), 2), r"--gpus-per-experiment 2: only 1 visible \(0\)"),
    ],
)
def test_requests_for_too_many_devices_are_rejected(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_slots(*arguments)  # type: ignore[arg-type]

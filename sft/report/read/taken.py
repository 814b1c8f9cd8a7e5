"""Number of labelled rows requested and used by a run: shots, in-context examples, calibration rows.

Data may have fewer rows than requested, and long examples may not fit into a prompt. Reads no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sft.config.sections.schema import ExperimentConfig
from sft.results.schema import RunResult

SHOTS = "dataset.shots"
SHOWN = "inference.icl_examples"
SHOWN_IN_TRAINING = "training.icl_examples"
CALIBRATED_WITH = "inference.calibration_args.num_train_samples"


class Taken(NamedTuple):
    """Number of rows used for one setting.

    Args:
        key: key of the setting.
        asked: number in the config.
        fewest, most: smallest and largest number used, per label or per prompt.
        labels: number of labels if the rows are counted over all labels together, else 1.
    """

    key: str
    asked: int
    fewest: int
    most: int
    labels: int = 1

    @property
    def is_short(self) -> bool:
        """Whether fewer rows than requested were used."""
        return self.fewest < self.asked * self.labels

    @property
    def numbers(self) -> str:
        """`86`, `86-187`, or `20 of 24` if the number per label is not an integer."""
        ends = (self.fewest, self.most)
        if any(one % self.labels for one in ends):
            return f"{span(*ends)} of {self.asked * self.labels}"
        return span(*(one // self.labels for one in ends))


def taken(result: RunResult, config: ExperimentConfig) -> tuple[Taken, ...]:
    """Return the numbers of rows that a run used, as far as its result records them."""
    return (*_shots(result.shots, config), *_examples(result.shots, config), *_calibrated_with(result.shots, config))


def together(several: Iterable[Taken]) -> dict[str, Taken]:
    """Merge the numbers of several runs by key; without keys whose requested numbers differ."""
    by_key: dict[str, list[Taken]] = {}
    for one in several:
        by_key.setdefault(one.key, []).append(one)
    return {
        key: same_key[0]._replace(fewest=min(one.fewest for one in same_key), most=max(one.most for one in same_key))
        for key, same_key in by_key.items()
        if len({(one.asked, one.labels) for one in same_key}) == 1
    }


def _shots(recorded: Mapping[str, Any], config: ExperimentConfig) -> Iterator[Taken]:
    asked, drawn = config.dataset.shots, recorded.get("drawn")
    if not isinstance(asked, int) or not asked or not drawn:  # not used by the command, or all rows requested
        return
    per_label = recorded.get("per_label") or {"": drawn}
    yield Taken(SHOTS, asked, min(per_label.values()), max(per_label.values()))


def _examples(recorded: Mapping[str, Any], config: ExperimentConfig) -> Iterator[Taken]:
    shown = recorded.get("examples_per_prompt", {})
    asked = {SHOWN: 0 if config.inference is None else config.inference.icl_examples}
    asked[SHOWN_IN_TRAINING] = 0 if config.training is None else config.training.icl_examples
    for key, count in asked.items():
        roles = [one for role, one in shown.items() if (role == "train") == (key == SHOWN_IN_TRAINING)]
        if count and roles:
            fewest, most = min(one["fewest"] for one in roles), max(one["most"] for one in roles)
            yield Taken(key, count, fewest, most, roles[0]["labels"])


def _calibrated_with(recorded: Mapping[str, Any], config: ExperimentConfig) -> Iterator[Taken]:
    calibration = None if config.inference is None else config.inference.calibration_args
    count = recorded.get("calibrated_with")
    if calibration is not None and calibration.train_samples and count and config.dataset.task.has_one_label:
        yield Taken(CALIBRATED_WITH, calibration.train_samples, count, count)


def span(fewest: int, most: int) -> str:
    """`86`, or `86-187`."""
    return str(fewest) if fewest == most else f"{fewest}-{most}"

"""The `dataset` section: which rows, which labels, how many shots."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sft.config.sections.base import Count, Names, PositiveCount, Section
from sft.plugins import DATA_SUFFIXES
from sft.task_types import TASK_TYPES, TaskName, TaskType


class DatasetConfig(Section):
    """The source of the rows, and how many of them the recipe uses."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description=f"Hub id, save_to_disk folder, local file ({', '.join(end[1:] for end in DATA_SUFFIXES)}) or "
        "folder, or fsspec URL."
    )
    args: dict[str, Any] = Field(default_factory=dict, description="Further arguments of datasets.load_dataset.")
    columns: Names | None = Field(
        default=None,
        description="Names of the columns, for files without names: csv and tsv without a header, JSON rows that "
        "are lists.",
    )
    train_split: str = Field(default="train", description="Name or slice of the split to draw shots from.")
    test_split: str = Field(default="test", description="Name or slice of the split to evaluate.")
    validation_split: str | None = Field(
        default=None,
        description="Name or slice of a second split to evaluate; the report then picks the best run on it.",
    )
    task_type: TaskName = Field(
        description="Type of the answers: free text, one label per row, or any number of labels per row."
    )
    shots: Count | Literal["all"] = Field(
        default=0,
        description="Number of labelled rows to train on: per label for classification (for multilabel: rows with the "
        'label), in total for generation. 0: zero-shot, no adapter and no training. "all": the whole train split.',
    )
    max_n_test: PositiveCount | None = Field(
        default=None,
        description="Evaluate at most this many rows: a sample with a fixed seed, the same in all runs.",
    )
    drop_overlap: bool = Field(
        default=False,
        description="Exclude train rows whose text also occurs in an evaluated split from training, in-context "
        "examples and calibration.",
    )
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Also treat texts as the same if their character 5-grams have at least this Jaccard similarity, "
        "such as 0.8. Default: only equal texts.",
    )
    labels: Names | None = Field(
        default=None,
        description="The labels, in order. Default: the ClassLabel names, else the sorted labels of the train split.",
    )
    label_separator: Annotated[str, Field(min_length=1)] = Field(
        default=",", description="Multilabel: separator of a row's labels, if they are one string and not a list."
    )

    @property
    def task(self) -> TaskType:
        """Return the task type."""
        return TASK_TYPES[self.task_type]

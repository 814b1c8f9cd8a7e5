"""The `dataset` section: which rows, which labels, how many shots."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sft.config.sections.base import Count, Names, PositiveCount, Section
from sft.plugins import DATA_SUFFIXES
from sft.task_types import TASK_TYPES, TaskName, TaskType


class DatasetConfig(Section):
    """Where the rows come from and how many of them the recipe may see."""

    path: Annotated[str, Field(min_length=1)] = Field(
        description=f"Hub id, save_to_disk folder, local file ({', '.join(end[1:] for end in DATA_SUFFIXES)}) or "
        "folder, or fsspec URL."
    )
    args: dict[str, Any] = Field(default_factory=dict, description="Further arguments of datasets.load_dataset.")
    columns: Names | None = Field(
        default=None,
        description="Names of the columns, for files whose rows have none: csv and tsv without a header, JSON rows "
        "that are lists.",
    )
    train_split: str = Field(default="train", description="Name or slice of the split that shots are drawn from.")
    test_split: str = Field(default="test", description="Name or slice of the split that is judged.")
    validation_split: str | None = Field(
        default=None, description="When named, it is evaluated too, and the report picks the best on it."
    )
    task_type: TaskName = Field(
        description="What the answers are: free text, one label a row, or any number of labels a row."
    )
    shots: Count | Literal["all"] = Field(
        default=0,
        description="Labelled rows to train on: per label for classification (for multilabel, rows that have it), in "
        "total for generation. 0: zero-shot, "
        'no adapter and no training. "all": the whole train split.',
    )
    max_n_test: PositiveCount | None = Field(
        default=None,
        description="Judge at most that many rows: a sample drawn with a constant seed, equal in all runs.",
    )
    drop_overlap: bool = Field(
        default=False,
        description="Leave rows of the train split whose text an evaluated split has too out of what is trained on, "
        "shown and calibrated with.",
    )
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Count texts as the same, too, whose character 5-grams have at least this Jaccard similarity "
        "(0.8, say). Default: only equal texts.",
    )
    labels: Names | None = Field(
        default=None,
        description="The labels, in order. Default: the ClassLabel names, else the sorted labels of the train split.",
    )
    label_separator: Annotated[str, Field(min_length=1)] = Field(
        default=",", description="Multilabel: what stands between a row's labels, where they are one text and no list."
    )

    @property
    def task(self) -> TaskType:
        """What an answer is."""
        return TASK_TYPES[self.task_type]

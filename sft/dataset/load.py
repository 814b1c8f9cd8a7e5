"""Open a data set: hub ids, `save_to_disk` folders, local files and folders, URLs; all through `datasets`.

Every form ends in a mapping of split names to tables; slices such as `train[:100]` then work the same for all. Knows
nothing of prompts or models. What is wrong with the data is said in one line, with what is there instead.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sft.config.dataset import DatasetConfig
from sft.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

# The builder of `datasets` for each file form, and what it needs to read that form as it stands in the file.
_FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("csv", {"keep_default_na": False}),  # else the texts "NA" and "null" become None
    ".tsv": ("csv", {"keep_default_na": False, "sep": "\t"}),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
    ".txt": ("text", {}),
    ".parquet": ("parquet", {}),
    ".arrow": ("arrow", {}),
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")  # unpacked by `datasets`
SAMPLE_SEED = 0  # of max_n_test: constant, so that every run judges the same rows


@dataclass(frozen=True)
class Splits:
    """The rows that a run uses; None for a split that it does not need."""

    train: Dataset | None
    test: Dataset | None
    validation: Dataset | None

    def named(self) -> Mapping[str, Dataset]:
        """The splits that are there, by role: `train`, `test`, `validation`."""
        roles = {"train": self.train, "test": self.test, "validation": self.validation}
        return {role: rows for role, rows in roles.items() if rows is not None}


def load_splits(config: DatasetConfig, roles: Iterable[str], optional: Iterable[str] = ()) -> Splits:
    """Open the splits of the given roles (`train`, `test`, `validation`; a validation split only where one is named).

    Args:
        config: the `dataset` section.
        roles: splits that must be there.
        optional: splits that are opened where the data has them.

    Raises:
        DataError: the data cannot be opened, a split is unknown or empty.
    """
    wanted = {"train": config.train_split, "test": config.test_split, "validation": config.validation_split}
    specs = {role: spec for role in roles if (spec := wanted[role]) is not None}
    tables = _open(config)
    specs |= {role: spec for role in optional if (spec := wanted[role]) and set(_named(spec)) <= tables.keys()}
    if "train" in roles:
        _refuse_overlap(tables, specs, config)
    return Splits(**{role: _slice(tables, specs[role], role, config) if role in specs else None for role in wanted})


def sample_rows(rows: Dataset, most: int | None) -> list[int]:
    """Indices of the rows that are judged: all, or a sample of `most` drawn with a constant seed, in their order."""
    if most is None or most >= len(rows):
        return list(range(len(rows)))
    return sorted(random.Random(SAMPLE_SEED).sample(range(len(rows)), most))  # noqa: S311


def check_columns(rows: Dataset, columns: Sequence[str], path: str) -> None:
    """Refuse columns that the data lacks, naming those that it has.

    Raises:
        DataError: in one line, with a near name where there is one.
    """
    for column in columns:
        if column not in rows.column_names:
            near = did_you_mean(column, rows.column_names)
            there = ", ".join(rows.column_names)
            raise DataError(
                f'{path} has no column "{column}" (it has: {there}){near or "."} '
                "Set prompting.input_columns and prompting.output_column"
            )


def _open(config: DatasetConfig) -> Mapping[str, Dataset]:
    """All splits of the data set, by name."""
    import datasets
    from datasets.exceptions import DatasetsError

    datasets.disable_progress_bars()
    try:
        if _is_saved(Path(config.path)):
            loaded = datasets.load_from_disk(config.path)
        else:
            loaded = datasets.load_dataset(**_load_arguments(config))
    except (DatasetsError, OSError, ValueError, TypeError, RuntimeError, NotImplementedError, KeyError) as error:
        raise DataError(_reason(config, error)) from error
    return loaded if isinstance(loaded, dict) else {"train": loaded}


def _is_saved(path: Path) -> bool:
    """Whether `path` was written by `save_to_disk`, which `load_dataset` cannot read."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _load_arguments(config: DatasetConfig) -> dict[str, Any]:
    """Arguments of `load_dataset`; the user's `args` win over what the file's form needs."""
    path = Path(config.path)
    suffix = _form(path)
    if suffix is None:  # a hub id, an URL of a folder, a builder's name
        if config.path in ("csv",):
            return {"path": config.path, **_FORMS[".csv"][1], **config.args}
        return {"path": config.path, **config.args}
    builder, needs = _FORMS[suffix]
    if path.is_dir():
        return {"path": config.path, **needs, **config.args}
    return {"path": builder, "data_files": config.path, **needs, **config.args}


def _form(path: Path) -> str | None:
    """The suffix that says how to read a local file, the files of a local folder, or the file behind an URL."""
    if path.is_dir():
        counts = Counter(file.suffix.lower() for file in path.rglob("*") if file.suffix.lower() in _FORMS)
        # of several forms `datasets` reads the one with the most files, on a tie the first of these
        ties = [".parquet", ".jsonl", ".json", ".csv"]
        rank = {suffix: len(ties) - place for place, suffix in enumerate(ties)}
        return max(counts, key=lambda suffix: (counts[suffix], rank.get(suffix, 0)), default=None)
    whole = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
    suffix = whole.suffix.lower()
    return suffix if suffix in _FORMS and (path.is_file() or "://" in str(path) or ":/" in str(path)) else None


class _Part(NamedTuple):
    """Rows `start` to `end` (exclusive) of a split."""

    split: str
    start: int
    end: int


def _refuse_overlap(tables: Mapping[str, Dataset], specs: Mapping[str, str], config: DatasetConfig) -> None:
    """Rows that are trained on or shown must not be judged."""
    trained = _parts(tables, specs["train"], "train", config)
    for role in specs.keys() - {"train"}:
        judged = _parts(tables, specs[role], role, config)
        shared = sum(
            max(0, min(a.end, b.end) - max(a.start, b.start)) for a in trained for b in judged if a.split == b.split
        )
        if shared:
            raise DataError(
                f'{config.path}: dataset.train_split "{specs["train"]}" and dataset.{role}_split "{specs[role]}" share '
                f"{shared} rows; give slices that do not meet, such as train[:80%] and train[80%:]"
            )


def _slice(tables: Mapping[str, Dataset], spec: str, role: str, config: DatasetConfig) -> Dataset:
    """The rows of a split's name or slice (`train[:80%]`, `train+validation`)."""
    from datasets import concatenate_datasets

    parts = [part for part in _parts(tables, spec, role, config) if part.start < part.end]
    if not parts:
        raise DataError(f'{config.path}: the split "{spec}" (dataset.{role}_split) is empty')
    chosen = [tables[part.split].select(range(part.start, part.end)) for part in parts]
    return chosen[0] if len(chosen) == 1 else concatenate_datasets(chosen)


def _named(spec: str) -> list[str]:
    """The names of the splits in `train[:80%]+validation`."""
    return [part.split("[")[0].strip() for part in spec.split("+")]


def _parts(tables: Mapping[str, Dataset], spec: str, role: str, config: DatasetConfig) -> list[_Part]:
    from datasets import ReadInstruction

    lengths = {name: len(table) for name, table in tables.items()}
    for name in _named(spec):
        if name not in tables:
            there = ", ".join(tables)
            raise DataError(
                f'{config.path} has no split "{name}" (it has: {there}){did_you_mean(name, list(tables)) or "."} '
                f"Set dataset.{role}_split"
            )
    try:
        parts = ReadInstruction.from_spec(spec).to_absolute(lengths)
    except (ValueError, AssertionError) as error:
        raise DataError(f'dataset.{role}_split: "{spec}" is not a slice of a split: {error}') from error
    return [
        _Part(one.splitname, one.from_ or 0, lengths[one.splitname] if one.to is None else int(one.to)) for one in parts
    ]


def _reason(config: DatasetConfig, error: Exception) -> str:
    """One line for the many ways in which opening data fails."""
    cause = error.__cause__ or error.__context__ or error
    text = " ".join(str(error).split())
    if "scripts are no longer supported" in text:
        return (
            f"{config.path} needs a loading script, which the datasets library no longer runs; use its parquet branch: "
            'dataset.args {"revision": "refs/convert/parquet"}, or another copy of the data'
        )
    if isinstance(error, UnicodeDecodeError) or isinstance(cause, UnicodeDecodeError):
        return f'{config.path} is not UTF-8; name its encoding: dataset.args {{"encoding": "latin-1"}}, say'
    if type(error).__name__ == "DatasetNotFoundError" or isinstance(error, ConnectionError):
        return f"{config.path} is neither a local file or folder nor a data set that the hub shows: {text[:300]}"
    if "corresponds to no data" in text:
        return f"{config.path} is empty: it has no rows"
    detail = " ".join(str(cause).split()) or type(cause).__name__
    return f"{config.path} cannot be opened: {detail[:400]}"

"""Opening data: every local form gives the same rows; every kind of bad data gives a one-line error."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.sections.dataset import DatasetConfig
from sft.dataset.load import check_columns, load_splits, sample_rows
from sft.dataset.rows import Rows
from sft.errors import DataError

ROWS = [
    {"text": "good day", "label": "positive"},
    {"text": 'a "quoted",\ntwo-line text', "label": "negative"},
    {"text": "NA", "label": "null"},
    {"text": "größer 😀", "label": "positive"},
]


def write_csv(path: Path, delimiter: str = ",", encoding: str = "utf-8", rows: list[dict[str, str]] = ROWS) -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, ["text", "label"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_arrow(path: Path) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def write_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(ROWS), path)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "csv": write_csv,
    "tsv": lambda path: write_csv(path, delimiter="\t"),
    "json": lambda path: path.write_text(json.dumps(ROWS), encoding="utf-8"),
    "jsonl": lambda path: path.write_text("\n".join(json.dumps(row) for row in ROWS), encoding="utf-8"),
    "parquet": write_parquet,
    "arrow": write_arrow,
}
ARGS = {
    "tsv": {"quoting": csv.QUOTE_MINIMAL}
}  # the writer quotes; without this argument, a quote in TSV is an ordinary character


def listed(rows: Rows) -> list[dict[str, str | None]]:
    columns = {name: rows.texts(name) for name in rows.column_names}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def opened(path: Path, **settings: Any) -> list[dict[str, str | None]]:
    config = DatasetConfig(path=str(path), task_type="classification", **settings)
    rows = load_splits(config, ["train"]).train
    assert rows is not None
    return listed(rows)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("form", WRITERS)
def test_every_file_form_gives_the_same_rows(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"data.{form}"
    WRITERS[form](path)
    assert opened(path, args=ARGS.get(form, {})) == ROWS


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_a_folder_with_train_and_test_files(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "test"):
        WRITERS[form](folder / f"{split}.{form}")
    config = DatasetConfig(path=str(folder), task_type="classification", args=ARGS.get(form, {}))
    splits = load_splits(config, ["train", "test"])
    assert splits.train is not None
    assert splits.test is not None
    assert listed(splits.test) == ROWS
    assert splits.validation is None


def test_text_files_have_one_column(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("first line\nsecond line\n", encoding="utf-8")
    assert opened(path) == [{"text": "first line"}, {"text": "second line"}]


def test_save_to_disk_folders_of_one_and_of_several_splits(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
    DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:1])).save_to_disk(tmp_path / "several")
    assert opened(tmp_path / "one") == ROWS
    assert opened(tmp_path / "several", train_split="test") == ROWS[:1]


def test_slices_and_sums_of_splits(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv")
    assert opened(tmp_path / "data.csv", train_split="train[:1]") == ROWS[:1]
    assert opened(tmp_path / "data.csv", train_split="train[50%:]") == ROWS[2:]
    assert opened(tmp_path / "data.csv", train_split="train[:1]+train[3:]") == [ROWS[0], ROWS[3]]


def test_a_split_in_args(tmp_path: Path) -> None:
    for form in ("csv", "parquet"):
        WRITERS[form](tmp_path / f"data.{form}")
        assert opened(tmp_path / f"data.{form}", args={"split": "train[1:3]"}) == ROWS[1:3]


def test_other_encodings_by_args(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    write_csv(path, encoding="latin-1", rows=[{"text": "größer", "label": "a"}])
    with pytest.raises(DataError, match="not UTF-8"):
        opened(path)
    assert opened(path, args={"encoding": "latin-1"})[0]["text"] == "größer"


def test_data_files_in_args(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    write_csv(tmp_path / "b.csv", rows=ROWS[:1])
    files = {"train": str(tmp_path / "a.csv"), "test": str(tmp_path / "b.csv")}
    assert opened(Path("csv"), args={"data_files": files}, train_split="test") == ROWS[:1]
    assert opened(Path("csv"), args={"data_files": files})[2]["text"] == "NA"


def test_an_unknown_split_lists_the_existing_ones(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv")
    config = DatasetConfig(path=str(tmp_path / "data.csv"), task_type="classification")
    with pytest.raises(DataError, match=r'no split "test" \(it has: train\).*dataset.test_split'):
        load_splits(config, ["test"])
    assert load_splits(config, ["train"], optional=["test"]).test is None


def test_an_empty_split_and_a_wrong_slice(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv")
    with pytest.raises(DataError, match="is empty"):
        opened(tmp_path / "data.csv", train_split="train[:0]")
    with pytest.raises(DataError, match="not a slice"):
        opened(tmp_path / "data.csv", train_split="train[a:b]")


@pytest.mark.parametrize("spec", ["train[4:]", "train[9:]", "train[:0]+train[4:]"])
def test_slices_beyond_the_end_are_empty(tmp_path: Path, spec: str) -> None:
    write_csv(tmp_path / "data.csv")
    with pytest.raises(DataError, match="is empty"):
        opened(tmp_path / "data.csv", train_split=spec)


def test_a_file_without_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows=[])
    with pytest.raises(DataError, match="is empty"):
        opened(tmp_path / "data.csv")


def test_rows_that_are_trained_on_are_not_evaluated(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows=ROWS * 5)
    path = str(tmp_path / "data.csv")
    overlapping = DatasetConfig(path=path, task_type="classification", test_split="train[:3]")
    with pytest.raises(DataError, match=r'train_split "train" and dataset\.test_split "train.*share 3 rows'):
        load_splits(overlapping, ["train", "test"])
    assert load_splits(overlapping, ["test"], optional=["train"]).train is not None  # only its labels are read
    apart = DatasetConfig(path=path, task_type="classification", train_split="train[3:]", test_split="train[:3]")
    assert load_splits(apart, ["train", "test"]).test is not None


def test_compressed_files(tmp_path: Path) -> None:
    import gzip

    write_csv(tmp_path / "data.csv")
    (tmp_path / "data.csv.gz").write_bytes(gzip.compress((tmp_path / "data.csv").read_bytes()))
    assert opened(tmp_path / "data.csv.gz") == ROWS


def test_a_missing_column_lists_the_existing_ones(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv")
    rows = load_splits(DatasetConfig(path=str(tmp_path / "data.csv"), task_type="classification"), ["train"]).train
    assert rows is not None
    with pytest.raises(DataError, match=r'no column "txt" \(it has: text, label\); did you mean "text"\?'):
        check_columns(rows, ["txt"], "data.csv")


def test_the_error_of_a_broken_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.jsonl line 2: not JSON") as caught:
        opened(path)
    assert "\n" not in str(caught.value)


def test_the_error_of_a_loading_script_suggests_the_parquet_branch(tmp_path: Path) -> None:
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text("raise SystemExit\n", encoding="utf-8")
    with pytest.raises(DataError, match="parquet branch"):
        opened(folder / "scripted.py")


def test_an_unknown_hub_id_without_network() -> None:
    with pytest.raises(DataError, match="neither a local file or folder nor a data set on the Hub"):
        opened(Path("nobody/no-such-data-set"))


def test_the_sample_of_evaluated_rows_is_constant(tmp_path: Path) -> None:
    write_csv(tmp_path / "data.csv", rows=ROWS * 25)
    rows = load_splits(DatasetConfig(path=str(tmp_path / "data.csv"), task_type="classification"), ["train"]).train
    assert rows is not None
    assert sample_rows(rows, 5) == sample_rows(rows, 5) == sorted(set(sample_rows(rows, 5)))
    assert sample_rows(rows, None) == sample_rows(rows, 1000) == list(range(100))

"""Real-world files: those that are read, and those that are refused with one line."""

from __future__ import annotations

import gzip
import http.server
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.sections.dataset import DatasetConfig
from sft.config.sections.schema import ExperimentConfig
from sft.dataset.load import load_splits
from sft.dataset.reading import sources
from sft.dataset.rows import Rows
from sft.dataset.task import Task, fingerprint, open_task
from sft.errors import DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path.parent / f"{tmp_path.name}-cache")


def read(path: Path | str, split: str = "train", **settings: Any) -> Rows:
    config = DatasetConfig(path=str(path), task_type="classification", train_split=split, **settings)
    rows = load_splits(config, ["train"]).train
    assert rows is not None
    return rows


def column(path: Path | str, name: str, **settings: Any) -> list[str | None]:
    return read(path, **settings).texts(name)


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def task_of(path: Path, prompting: dict[str, Any] | None = None, **dataset: Any) -> Task:
    config = {
        "dataset": {"path": str(path), "task_type": "classification", **dataset},
        "model": {"name": "model"},
        "prompting": {"input_columns": ["text"], "output_column": "label", **(prompting or {})},
    }
    return open_task(Experiment("x", ExperimentConfig.model_validate(config), 13, "evaluate"))


# Types


def test_labels_that_look_like_numbers_stay_distinct(tmp_path: Path) -> None:
    path = put(tmp_path / "test.csv", "text,label\na,1.1\nb,1.10\nc,007\nd,1e5\n")
    task = task_of(path, test_split="train")
    assert task.evaluated["test"].answers == ("1.1", "1.10", "007", "1e5")
    assert task.labels == ("1.1", "1.10", "007", "1e5")  # sorted by value


def test_verbalizers_of_booleans(tmp_path: Path) -> None:
    words = {"verbalizers": {"true": "yes", "false": "no"}}
    for name, text in (
        ("a.csv", "text,label\na,true\nb,false\n"),
        ("a.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": false}\n'),
    ):
        assert task_of(put(tmp_path / name, text), words, test_split="train").evaluated["test"].shown == ("yes", "no")


def test_a_text_label_after_many_numbers(tmp_path: Path) -> None:
    rows = "".join(f"row {n},{n % 2}\n" for n in range(10_100))
    path = put(tmp_path / "train.csv", f"text,label\n{rows}last,unsure\n")
    assert task_of(path, test_split="train").labels == ("0", "1", "unsure")


def test_a_text_after_many_nulls(tmp_path: Path) -> None:
    lines = ['{"text": null, "label": "a"}\n'] * 20_000 + ['{"text": "b", "label": "b", "more": 1}\n']
    rows = read(put(tmp_path / "train.jsonl", "".join(lines)))
    assert rows.texts("text")[-2:] == [None, "b"]
    assert rows.texts("more")[-2:] == [None, "1"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_splits_with_different_columns_and_types(tmp_path: Path, suffix: str) -> None:
    tables = {
        "train": [{"text": "a", "label": 0}, {"text": "b", "label": 1}],
        "test": [{"text": "c", "label": "unsure", "source": "web"}],
    }
    for split, rows in tables.items():
        path = tmp_path / f"{split}.{suffix}"
        if suffix == "parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(rows), path)
        elif suffix == "csv":
            put(path, "\n".join(",".join(map(str, row)) for row in (list(rows[0]), *(r.values() for r in rows))) + "\n")
        else:
            put(path, "".join(json.dumps(row) + "\n" for row in rows))
    task = task_of(tmp_path, labels=["0", "1", "unsure"])
    assert task.evaluated["test"].answers == ("unsure",)
    assert task.train is not None
    assert task.train.answers == ("0", "1")
    both = read(tmp_path, split="train+test")
    assert both.texts("source") == [None, None, "web"]


def test_json_strings_and_numbers(tmp_path: Path) -> None:
    rows = (
        '[{"answer": "2024-07-25", "n": 1.10, "e": 1e5, "b": true, "z": null, "big": 123456789012345678901234567890}]'
    )
    table = read(put(tmp_path / "a.json", rows))
    assert {name: table.texts(name) for name in table.column_names} == {
        "answer": ["2024-07-25"], "n": ["1.10"], "e": ["1e5"], "b": ["true"], "z": [None],
        "big": ["123456789012345678901234567890"],
    }  # fmt: skip


def test_the_columns_of_predictions_agree_with_the_predictions(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    from sft.steps.record import data_columns

    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"]), "flag": Value("bool")})
    data = {"text": ["a", "b"], "label": [1, 0], "flag": [True, False]}
    Dataset.from_dict(data, features=features).save_to_disk(tmp_path / "saved")
    rows = task_of(tmp_path / "saved", test_split="train").evaluated["test"]
    assert data_columns(rows)["label"] == list(rows.answers) == ["yes", "no"]
    flags = task_of(tmp_path / "saved", {"output_column": "flag"}, test_split="train").evaluated["test"]
    assert data_columns(flags)["flag"] == list(flags.answers) == ["true", "false"]


# CSV and TSV


def test_stray_quotes_in_tsv(tmp_path: Path) -> None:
    lines = [f'"Best ever, wrote neighbour {n}\tneutral' if n % 9 == 0 else f"plain {n}\tgood" for n in range(36)]
    path = put(tmp_path / "train.tsv", "text\tlabel\n" + "\n".join(lines) + "\n")
    assert column(path, "text") == [line.split("\t")[0] for line in lines]
    assert column(put(tmp_path / "b.csv", path.read_text()), "text", args={"sep": "\t"}) == column(path, "text")


def test_quoted_tsv_by_args_and_a_warning_without(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    path = put(tmp_path / "train.tsv", 'text\tlabel\n"she wrote ""no"" twice"\ta\n"quoted"\tb\n')
    assert column(path, "text", args={"quoting": 0}) == ['she wrote "no" twice', "quoted"]
    assert not warnings.text
    assert column(path, "text") == ['"she wrote ""no"" twice"', '"quoted"']
    assert "train.tsv: 1 rows (first: line 2) with a cell in quotes" in warnings.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,label\nfine,good\nwell, lamp 0 is broken,bad\n", 'line 3: expected 2 cells (text, label), got 3'),
        ('text,label\n"open,good\nnext,bad\n', "line 2: the quote that opens a cell is never closed"),
        ('text,label\n"Best" of all,good\n', "line 2: a cell continues after its closing quote"),
        ("text,label,text\na,b,c\n", 'two columns "text"'),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(put(tmp_path / "train.csv", text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_that_do_not_fit_can_be_skipped(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    path = put(tmp_path / "train.csv", "text,label\nfine,good\nwell, lamp 0 is broken,bad\nbad\n")
    assert column(path, "text", args={"on_bad_lines": "skip"}) == ["fine"]
    assert "2 rows (first: line 3) skipped" in warnings.text


def test_a_short_row_matters_where_its_column_does(tmp_path: Path) -> None:
    path = put(tmp_path / "train.csv", "text,label,comment\nfine,good\nworse,bad,really\n")
    assert task_of(path, test_split="train").evaluated["test"].answers == ("good", "bad")
    with pytest.raises(DataError, match=r'line 2: expected 3 cells .*, got 2.*the column "comment" is missing there'):
        task_of(path, {"input_columns": ["comment"]}, test_split="train")


def test_a_delimiter_at_the_end_of_each_row(tmp_path: Path) -> None:
    assert column(put(tmp_path / "a.csv", "text,label\na,b,\nc,d,\n"), "label") == ["b", "d"]
    assert read(put(tmp_path / "b.csv", "text,label,\na,b,\n")).column_names == ["text", "label", "Unnamed: 2"]


def test_a_cell_over_lines_with_the_delimiter_is_reported(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    path = put(tmp_path / "train.csv", 'text,label\na,b\n"one,\ntwo",c\n')
    assert column(path, "text") == ["a", "one,\ntwo"]
    assert "train.csv: 1 rows (first: line 3) with a cell that holds a line break and the delimiter" in warnings.text


def test_byte_order_marks_line_ends_blank_lines_and_long_cells(tmp_path: Path) -> None:
    long = "x" * 200_000
    path = tmp_path / "train.csv"
    path.write_bytes(f"\ufefftext,label\r\na,b\r\n\r\n{long},c\r\n".encode())
    assert column(path, "text") == ["a", long]
    path.write_bytes(b"text,label\ra,b\rc,d\r")
    assert column(path, "label") == ["b", "d"]


def test_files_without_a_header(tmp_path: Path) -> None:
    path = put(tmp_path / "train.tsv", "a\tb\nc\td\n")
    assert column(path, "text", columns=["text", "label"]) == ["a", "c"]
    assert column(path, "text", args={"column_names": ["text", "label"]}) == ["a", "c"]
    assert column(path, "text", args={"names": ["text", "label"], "header": 0}) == ["c"]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"sep": ";", "quotechar": "'"}, ["a;b", "NA"]),
        ({"sep": ";", "quotechar": "'", "nrows": 1}, ["a;b"]),
        ({"sep": ";", "quotechar": "'", "na_values": ["NA"]}, ["a;b", None]),
        ({"sep": ";", "quotechar": "'", "keep_default_na": True}, ["a;b", None]),
        ({"sep": ";", "quotechar": "'", "comment": "#"}, ["a;b", "NA"]),
        ({"sep": r"\s*;\s*", "engine": "python", "skiprows": 2, "names": ["text", "label"]}, ["NA"]),
    ],
)
def test_arguments_of_pandas(tmp_path: Path, args: dict[str, Any], expected: list[str | None]) -> None:
    path = put(tmp_path / "train.csv", "text;label\n'a;b';007\nNA;1.10\n")
    assert column(path, "text", args=args) == expected
    assert column(path, "label", args=args) == ["007", "1.10"][-len(expected) :][: len(expected)] or expected == ["a;b"]


def test_another_delimiter_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'no column "text" \(it has: text;label\).*dataset\.args \{"sep": ";"\}'):
        task_of(put(tmp_path / "a.csv", "text;label\na;b\n"), test_split="train")


# JSON


def test_splits_in_one_file_and_rows_that_are_lists(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", json.dumps({"train": [["a", "b"], ["c", "d"]], "val": [], "test": [["e", "b"]]}))
    assert column(path, "text", columns=["text", "label"]) == ["a", "c"]
    assert column(path, "label", split="train+test", columns=["text", "label"]) == ["b", "d", "b"]
    with pytest.raises(DataError, match=r'split "train" row 1 is a list; name its cells: dataset\.columns'):
        read(path)
    rows = {"train": [{"text": "a"}], "test": [{"text": "b"}, {"text": "c"}]}
    assert column(put(tmp_path / "b.json", json.dumps(rows, indent=2)), "text", split="test") == ["b", "c"]


@pytest.mark.parametrize(
    ("name", "text", "args"),
    [
        ("lines.json", '{"text": "a"}\n\n{"text": "b"}\n', {}),
        ("pretty.json", '{\n"text": "a"\n}\n{\n"text": "b"\n}\n', {}),
        ("list.jsonl", '[\n{"text": "a"},\n{"text": "b"}\n]', {}),
        ("columns.json", '{"text": ["a", "b"]}', {}),
        ("field.json", '{"version": "1", "data": [{"text": "a"}, {"text": "b"}]}', {"field": "data"}),
        ("mark.json", '\ufeff[{"text": "a"}, {"text": "b"}]', {}),
    ],
)
def test_the_forms_of_json(tmp_path: Path, name: str, text: str, args: dict[str, Any]) -> None:
    assert column(put(tmp_path / name, text), "text", args=args) == ["a", "b"]


def test_splits_by_columns(tmp_path: Path) -> None:
    text = json.dumps({"train": {"text": ["a", "b"]}, "test": {"text": ["c"]}})
    assert column(put(tmp_path / "a.json", text), "text", split="test+train") == ["c", "a", "b"]


def test_label_names_of_a_data_set_card(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    names = "{class_label: {names: {'0': neg, '1': pos}}}"
    features = f"[{{name: text, dtype: string}}, {{name: label, dtype: {names}}}]"
    put(folder / "README.md", f"---\ndataset_info: {{features: {features}}}\n---\n")
    put(folder / "train.csv", "text,label\n007,1\nb,0\n")
    assert column(folder, "text") == ["007", "b"]
    assert column(folder, "label") == ["pos", "neg"]


def test_line_separators_inside_strings(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"text": "a\u2028b\x85c"}\n{"text": "\u2029"}\n')
    assert column(path, "text") == ["a\u2028b\x85c", "\u2029"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"version": "1", "data": [{"text": "a"}]}', "name the key that holds the rows"),
        ("a.json", '[{"text": "a"},]', "a.json: not JSON"),
        ("a.jsonl", '{"text": "a"}\nnot json\n', "a.jsonl line 2: not JSON"),
        ("a.jsonl", '{"text": "a", "text": "b"}\n', 'duplicate key "text"'),
        ("a.json", "[1, 2]", "row 1: expected an object or a list, got a number"),
        ("a.json", '[{"text": "\\ud800"}]', 'row 0, column "text" holds half of a surrogate pair'),
        ("a.json", "", "is empty"),
        ("a.json", "[" * 100_000, "a.json"),
    ],
)
def test_json_that_cannot_be_read(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(put(tmp_path / name, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# Columns that do not hold text


def test_lists_objects_and_bytes_are_refused(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user"}], "answers": {"text": ["a"]}, "text": "a", "label": "b"}]
    path = put(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows * 2))
    for name, kind in (("messages", "lists"), ("answers", "objects")):
        for prompting in ({"input_columns": [name]}, {"output_column": name}):
            with pytest.raises(
                DataError, match=rf'column "{name}" holds {kind}, not text; columns with text: text, label'
            ):
                task_of(path, prompting, test_split="train")
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": [b"\x00"], "label": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match='column "text" holds bytes, not text; columns with text: label'):
        task_of(tmp_path / "a.parquet", test_split="train")


def test_a_column_with_a_list_in_one_row(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"text": "a", "label": "b"}\n{"text": ["a"], "label": "c"}\n')
    with pytest.raises(DataError, match='column "text" holds lists'):
        task_of(path, test_split="train")


def test_a_split_without_the_label_column_is_named(tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    put(tmp_path / "test.jsonl", '{"text": "c"}\n')
    with pytest.raises(DataError, match=r'\(test\) has no column "label" \(it has: text\)'):
        task_of(tmp_path)


# The data that is hashed is the data that is read


def replace(path: Path, content: bytes) -> None:
    """Write other content of the same length and keep the time stamps, as rsync -t and tar do."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def parquet_bytes(text: str) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"text": [text] * 3, "label": ["a", "b", "a"]}), out)
    return out.getvalue()


CONTENTS = {
    "data.csv": lambda text: f"text,label\n{text},a\n{text},b\n".encode(),
    "data.csv.gz": lambda text: gzip.compress(f"text,label\n{text},a\n{text},b\n".encode(), mtime=0, compresslevel=0),
    "data.jsonl": lambda text: f'{{"text": "{text}", "label": "a"}}\n'.encode(),
    "data.txt": lambda text: f"{text}\n{text}\n".encode(),
    "data.txt.gz": lambda text: gzip.compress(f"{text}\n".encode(), mtime=0, compresslevel=0),
    "data.parquet": parquet_bytes,
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("form", ["file", "folder", "builder"])
def test_a_file_replaced_with_its_time_stamp_kept(tmp_path: Path, name: str, form: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / name
    path.write_bytes(CONTENTS[name]("older text"))
    builder = {"csv": "csv", "jsonl": "json", "txt": "text", "parquet": "parquet"}[name.split(".")[1]]
    settings = {
        "file": {"path": str(path)},
        "folder": {"path": str(folder)},
        "builder": {"path": builder, "args": {"data_files": {"train": str(path)}}},
    }[form]
    assert set(column(name="text", **settings)) == {"older text"}
    replace(path, CONTENTS[name]("newer text"))
    assert set(column(name="text", **settings)) == {"newer text"}


def test_large_files_are_read_once_for_each_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_LARGE", 1)
    path = put(tmp_path / "data.jsonl", '{"text": "007", "more": [1.10]}\n{"text": null, "more": "b"}\n')
    first = read(path)
    monkeypatch.setattr(sources, "_read_text_files", lambda *_: pytest.fail("read again"))
    again = read(path)
    assert again.texts("text") == first.texts("text") == ["007", None]
    assert again.values("more") == first.values("more") == [["1.10"], "b"]
    monkeypatch.undo()
    assert column(put(path, '{"text": "008"}\n'), "text") == ["008"]


def test_the_hash_of_the_data_is_always_recorded(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "text,label\na,x\nb,y\n")
    by_path = fingerprint(task_of(path, test_split="train"))["sha256"]
    by_builder = fingerprint(task_of(Path("csv"), args={"data_files": str(path)}, test_split="train"))["sha256"]
    assert by_path == by_builder
    assert len(by_path) == 64


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Serve the folder `web` over HTTP; yield the URL."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_files_behind_a_url_and_their_rows_without_a_network(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    put(tmp_path / "web" / "a.csv", "text,label\n007,x\n1.10,y\n")
    task = task_of(Path("csv"), args={"data_files": f"{site}/a.csv"}, test_split="train")
    assert task.evaluated["test"].rows.texts("text") == ["007", "1.10"]
    assert len(fingerprint(task)["sha256"]) == 64
    (tmp_path / "web" / "a.csv").unlink()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    again = task_of(Path("csv"), args={"data_files": f"{site}/a.csv"}, test_split="train")
    assert again.evaluated["test"].rows.texts("text") == ["007", "1.10"]
    assert fingerprint(again)["sha256"] == fingerprint(task)["sha256"]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("sft").propagate = True
    caplog.set_level(logging.WARNING, logger="sft")
    return caplog

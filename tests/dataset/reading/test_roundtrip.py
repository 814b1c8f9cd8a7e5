"""Data that Python's writers put into a file comes back unchanged in prompt, label and predictions.tsv."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.dataset.task import open_task
from sft.prompting.plan import PromptPlan
from sft.results.tsv import to_tsv
from sft.steps.record import data_columns

Table = list[dict[str, str]]
MakeConfig = Callable[..., dict[str, Any]]

# Values of real-world files: codes, dates, numbers in every spelling, words that readers convert.
CODES = st.sampled_from(
    ["007", "1.10", "1e5", "-0", "true", "False", "null", "NA", "N/A", "nan", "NaN", "None", "2024-07-25", "12:30",
     "18446744073709551616", "0.30000000000000004441", "1_000", "+1", "0x1F", "#", "=1+1", "'", '"', '""', "[1]", "{}",
     " x "]
)  # fmt: skip
# without the private-use characters that are the aliases of this tokenizer's control tokens
ALIASES = "".join(chr(0x10E000 + index) for index in range(8))
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=ALIASES), max_size=20) | CODES
# for TSV, which has no quoting: no character that ends a cell or a row
PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=ALIASES), max_size=20) | CODES


def tables(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Table]:
    labels = texts.filter(str.strip)
    pair = st.lists(labels, min_size=2, max_size=3, unique=True)
    return pair.flatmap(
        lambda classes: st.lists(
            st.fixed_dictionaries({"text": texts, "other column": texts, "label": st.sampled_from(classes)}), max_size=5
        ).map(lambda rows: [{"text": "", "other column": "", "label": label} for label in classes] + rows)
    )


def as_csv(table: Table, **style: Any) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(table[0]), **style)
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue().encode("utf-8")


def as_tsv(table: Table) -> bytes:
    columns = list(table[0])
    lines = [columns, *([row[name] for name in columns] for row in table)]
    return "".join("\t".join(cells) + "\n" for cells in lines).encode("utf-8")


def as_parquet(table: Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(table), out)
    return out.getvalue()


def as_arrow(table: Table) -> bytes:
    import pyarrow as pa

    out = io.BytesIO()
    rows = pa.Table.from_pylist(table)
    with pa.ipc.new_stream(out, rows.schema) as writer:
        writer.write_table(rows)
    return out.getvalue()


def as_jsonl(table: Table) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table).encode("utf-8")


def as_zip(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("data", content)
    return out.getvalue()


def as_zst(content: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


WRITERS: dict[str, tuple[Callable[[Table], bytes], dict[str, Any]]] = {
    ".csv": (as_csv, {}),
    ".csv.gz": (lambda table: gzip.compress(as_csv(table)), {}),
    ".csv.bz2": (lambda table: bz2.compress(as_csv(table, quoting=csv.QUOTE_ALL)), {}),
    ".csv.xz": (lambda table: lzma.compress(as_csv(table)), {}),
    ".tsv": (lambda table: as_csv(table, delimiter="\t"), {"quoting": csv.QUOTE_MINIMAL}),
    ".json": (lambda table: json.dumps(table, indent=1).encode(), {}),
    ".json.zip": (lambda table: as_zip(json.dumps(table).encode()), {}),
    ".jsonl": (as_jsonl, {}),
    ".jsonl.zst": (lambda table: as_zst(as_jsonl(table)), {}),
    ".parquet": (as_parquet, {}),
    ".arrow": (as_arrow, {}),
}


def check_unchanged(config: dict[str, Any], tokenizer: Any, table: Table) -> None:
    """Check prompts, answers and predictions.tsv against the table itself."""
    experiment = Experiment("x", ExperimentConfig.model_validate(config))
    task = open_task(experiment)
    rows = task.evaluated["test"]
    assert rows.answers == tuple(row["label"] for row in table)
    assert set(task.labels or ()) == set(rows.answers)
    written = to_tsv({**data_columns(rows), "predictions": rows.answers})
    read = list(csv.DictReader(io.StringIO(written, newline=""), delimiter="\t"))
    assert read == [{**row, "predictions": row["label"]} for row in table]
    plan = PromptPlan(experiment, task, tokenizer, None)
    for row, shown in zip(table, plan.look_at_evaluated("test", len(table)), strict=True):
        prompt = tokenizer.decode(shown.prompt.ids)
        assert f"text: {row['text']}\nother column: {row['other column']}<|im_end|>" in prompt
        assert tokenizer.decode(shown.prompt.completion_ids) == f"{row['label']}<|im_end|>"


def config_of(make_config: MakeConfig, path: Path, args: dict[str, Any]) -> dict[str, Any]:
    return make_config(
        dataset={"path": str(path), "args": args, "task_type": "classification", "test_split": "train"},
        prompting={"input_columns": ["text", "other column"], "output_column": "label"},
        inference={},
    )


checked = settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("suffix", WRITERS)
@checked
@given(data=st.data())
def test_every_file_form(
    suffix: str, data: st.DataObject, make_config: MakeConfig, tokenizer: Any, tmp_path: Path
) -> None:
    write, args = WRITERS[suffix]
    table = data.draw(tables(ANY_TEXT))
    path = tmp_path / f"data{suffix}"
    path.write_bytes(write(table))
    check_unchanged(config_of(make_config, path, args), tokenizer, table)


@checked
@given(table=tables(PLAIN_TEXT))
def test_tsv_without_quoting(table: Table, make_config: MakeConfig, tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_bytes(as_tsv(table))
    check_unchanged(config_of(make_config, path, {}), tokenizer, table)


@checked
@given(table=tables(ANY_TEXT))
def test_a_folder_whose_files_were_replaced(
    table: Table, make_config: MakeConfig, tokenizer: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "train.parquet").write_bytes(as_parquet(table))
    check_unchanged(config_of(make_config, folder, {}), tokenizer, table)

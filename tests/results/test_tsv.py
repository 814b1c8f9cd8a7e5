"""The table of predictions is read back exactly, whatever its texts contain."""

from __future__ import annotations

import csv
import io
import json

from sft.results.tsv import to_tsv


def test_tsv_is_read_back_exactly() -> None:
    columns = {
        "text": ['tab\there "quoted"', "two\nlines", "", "carriage\rreturn"],
        "n": [1, None, 2.5, 0],
        "p": [{"a": 0.5}, [1], True, 1],
    }
    rows = list(csv.DictReader(io.StringIO(to_tsv(columns)), delimiter="\t"))
    assert [row["text"] for row in rows] == columns["text"]
    assert [row["n"] for row in rows] == ["1", "", "2.5", "0"]
    assert json.loads(rows[0]["p"]) == {"a": 0.5}

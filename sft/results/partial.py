"""Partial answers of a split, one JSON line each, so that a long prediction resumes where it stopped.

The file belongs to one run and has the run's id in its name. An incomplete last line after a crash is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft.io import parse_json


class PartialAnswers:
    """Answers of the first rows of a split, in order.

    Args:
        path: path of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """Return the answers so far. The first broken line and everything after it are removed from the file."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except OSError:
            return []
        answers, intact = [], 0
        for line in lines:
            try:
                answers.append(parse_json(line.decode("utf-8")))
            except ValueError:
                break
            if not line.endswith(b"\n"):
                answers.pop()
                break
            intact += len(line)
        with self.path.open("r+b") as file:
            file.truncate(intact)
        return answers

    def append(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Append answers and sync them to disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            for answer in answers:
                file.write(json.dumps(answer, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Remove the file, after the complete prediction was written elsewhere."""
        self.path.unlink(missing_ok=True)

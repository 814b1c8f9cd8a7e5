"""Answers as they come, one JSON line each, so that a long prediction resumes where it stopped.

The file belongs to one run (its name holds the run's id); a last line cut off by a crash is left out.
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
        path: of the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """The answers so far; whatever follows the first broken line is dropped from the file too."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except OSError:
            return []
        answers, good = [], 0
        for line in lines:
            try:
                answers.append(parse_json(line.decode("utf-8")))
            except ValueError:
                break
            if not line.endswith(b"\n"):
                answers.pop()
                break
            good += len(line)
        with self.path.open("r+b") as file:
            file.truncate(good)
        return answers

    def append(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Add answers and make them durable."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            for answer in answers:
                file.write(json.dumps(answer, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """The prediction is whole and stands elsewhere."""
        self.path.unlink(missing_ok=True)

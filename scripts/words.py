"""Find words that this project does not use, in sources, tests and docs: the field's word is written instead.

    python scripts/words.py [PATH …]

Identifiers count too, part by part. A line that must hold such a word (a quotation, a fixed name) ends with the comment
`words: fixed name`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = (".py", ".md", ".jsonnet", ".libsonnet", ".c", ".sh")
EXEMPT = "words: fixed name"
EXEMPT_FOLDERS = ("scripts/demo_corpus",)  # the demo model was trained on these texts

# What is found (parts of identifiers too, since underscores end a word here), and what is written instead.
WORDS: tuple[tuple[str, str], ...] = (
    (r"judg(e|es|ed|ing|ements?)", "evaluate, evaluated, evaluation"),
    (r"told|tell|tells|telling", "report, log, show, distinguish"),
    (r"said", "reported, stated; or name the thing"),
    (r"anew", "again"),
    (r"mend|mends|mended|mending", "fix, change"),
    (r"astray", "diverged"),
    (r"learnt", "target, trained on"),
    (r"borders?", "boundary"),
    (r"side by side", "packed"),
    (r"sees? whom", "attention mask"),
    (r"stands?(?! for\b)", "is, cannot be combined with, appears"),
    (r"to be had", "found, available"),
    (r"whole numbers?", "integer"),
    (
        r"(?<!in )(?<!in the )(?<!in its )(?<!takes the )(?<!takes its )(?<!decimal )places?",
        "index, folder, path, layer",
    ),
    (r"(?<!np\.)signs?(?![ _-]flip)(?! test)", "character"),
    (r"beginnings?", "prefix, start"),
    (r"outlasts?", "survive, last longer than"),
    (r"dear", "expensive"),
    (r"not allowed:", "expected …, got …"),
    (r"knows no such", "does not accept"),
    (r"turn it round", "change the order"),
    (r"half as much", "half the batch"),
    (r"on the hub to be", "on the Hub"),
)
_FOUND = re.compile(
    "|".join(f"(?P<w{n}>(?<![A-Za-z])(?:{word})(?![A-Za-z]))" for n, (word, _) in enumerate(WORDS)), re.I
)


class Hit(NamedTuple):
    """A word that is not used, and what is written instead."""

    path: Path
    line: int
    word: str
    instead: str


def hits(paths: Iterable[Path]) -> Iterator[Hit]:
    """Yield every such word in some files."""
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if EXEMPT in line:
                continue
            for match in _FOUND.finditer(_words_apart(line)):
                instead = next(WORDS[n][1] for n in range(len(WORDS)) if match[f"w{n}"])
                yield Hit(path, number, match[0], instead)


def _words_apart(line: str) -> str:
    """Return a line with the parts of CamelCase names apart."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", line)


def files(given: list[str]) -> list[Path]:
    """Return the files of the repository, or those of them under some paths."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *given],  # noqa: S607
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    own = Path(__file__).resolve()
    found = [ROOT / name for name in listed if name.endswith(SUFFIXES) and not name.startswith(EXEMPT_FOLDERS)]
    return [path for path in found if path != own and path.is_file()]


def main() -> int:
    """Print what is found; 1 where there is something."""
    found = list(hits(files(sys.argv[1:])))
    for hit in found:
        print(f'{hit.path.relative_to(ROOT)}:{hit.line}: "{hit.word}": write {hit.instead}')
    if found:
        print(f"{len(found)} words that this project does not use", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

"""A data file as text, decompressed by its suffix. Does not interpret the text.

`datasets` decompresses into a cache keyed by the file's path alone, and would read the content of an older file.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TextIO
from urllib.parse import urlsplit

from sft.plugins import COMPRESSED_SUFFIXES


@dataclass(frozen=True)
class DataFile:
    """A file to read.

    Args:
        name: its path or URL, for messages and for the suffixes.
        path: the local file, or the local copy of a remote file.
    """

    name: str
    path: Path

    @property
    def suffixes(self) -> list[str]:
        """The last two suffixes of the name, in lower case, without the query of a URL."""
        plain = urlsplit(self.name).path if "://" in self.name else self.name
        return [suffix.lower() for suffix in PurePosixPath(plain.replace("\\", "/")).suffixes[-2:]]

    @property
    def compression(self) -> str | None:
        """The suffix of the compression; None if the file is not compressed."""
        last = self.suffixes[-1] if self.suffixes else ""
        return last if last in COMPRESSED_SUFFIXES else None

    @property
    def form(self) -> str:
        """The suffix of the decompressed file's format, such as `.csv`."""
        suffixes = self.suffixes[:-1] if self.compression else self.suffixes
        return suffixes[-1] if suffixes else ""

    @property
    def shown(self) -> str:
        """The file's name in messages."""
        return self.name if "://" in self.name else Path(self.name).name


@contextmanager
def open_text(file: DataFile, encoding: str | None, errors: str | None) -> Iterator[TextIO]:
    """Open a file as text, without its byte order mark and with line ends unchanged.

    Args:
        file: the file to open.
        encoding: encoding; UTF-8 by default.
        errors: treatment of invalid bytes, as in Python's `open`.
    """
    name = codecs.lookup(encoding or "utf-8").name
    with (
        _open_bytes(file) as raw,
        io.TextIOWrapper(raw, "utf-8-sig" if name == "utf-8" else name, errors or "strict", newline="") as text,
    ):
        yield text


@contextmanager
def _open_bytes(file: DataFile) -> Iterator[Any]:
    match file.compression:
        case ".gz":
            with gzip.open(file.path, "rb") as stream:
                yield stream
        case ".bz2":
            with bz2.open(file.path, "rb") as stream:
                yield stream
        case ".xz":
            with lzma.open(file.path, "rb") as stream:
                yield stream
        case ".zst":
            import pyarrow as pa

            with pa.input_stream(str(file.path), compression="zstd") as stream:
                yield io.BufferedReader(_Readable(stream))
        case ".zip":
            with zipfile.ZipFile(file.path) as archive, archive.open(_only_member(archive, file)) as stream:
                yield stream
        case _:
            with file.path.open("rb") as stream:
                yield stream


class _Readable(io.RawIOBase):
    """A stream of pyarrow as a raw stream for Python's text layer."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _only_member(archive: zipfile.ZipFile, file: DataFile) -> zipfile.ZipInfo:
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not any(part.startswith((".", "__MACOSX")) for part in member.filename.split("/"))
    ]
    if len(members) != 1:
        raise ValueError(
            f"expected one file in {file.shown}, got {len(members)}; unpack it and name the folder or the files"
        )
    return members[0]

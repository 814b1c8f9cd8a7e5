"""A data set in any form to its splits: Hub ids, `save_to_disk` folders, local files and folders, URLs.

`datasets` maps files to splits and downloads remote files. Text files (csv, tsv, json, jsonl) are then read here, cell
by cell; `datasets` reads all other forms. Its cache is keyed by path and time stamp, so local files get a cache of
their own for each content: the data that is hashed is the data that is read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sft.config.identity import ID_VERSION, data_content
from sft.config.sections.dataset import DatasetConfig
from sft.dataset.reading.cached import CachedRows
from sft.dataset.reading.files import DataFile
from sft.dataset.rows import Rows, concatenated
from sft.errors import DataError
from sft.io import canonical_json, digest
from sft.log import get_logger
from sft.plugins import COMPRESSED_SUFFIXES, DATA_FORMATS, DATA_SUFFIXES, DataFormatSpec

if TYPE_CHECKING:
    from datasets import Dataset

log = get_logger(__name__)

# A reader: from a file, `dataset.args` and `dataset.columns` to the file's rows, or to its splits.
Reader = Callable[[DataFile, Mapping[str, Any], Sequence[str] | None], Rows | dict[str, Rows]]

_LARGE = 16_000_000  # bytes of text files; reading more takes longer than a second
# Arguments of `load_dataset` that its builders do not accept.
_NOT_OF_BUILDERS = ("split", "verification_mode", "keep_in_memory", "save_infos", "streaming", "num_proc")


def open_source(config: DatasetConfig) -> Mapping[str, Rows]:
    """Open all splits of a data set, by name.

    Raises:
        DataError: a reader of this package cannot read the rows.
        Exception: any exception of `datasets`.
    """
    import datasets

    datasets.disable_progress_bars()
    content = data_content(config)
    splits = _opened(config)
    if data_content(config) != content:
        if content is not None:  # the cache of that content may hold rows of the new content
            shutil.rmtree(cache_of(content), ignore_errors=True)
        raise DataError(f"{config.path} changed while it was read; run the same command again")
    return splits


def _opened(config: DatasetConfig) -> Mapping[str, Rows]:
    import datasets

    if _is_saved(Path(config.path)):
        return _named(datasets.load_from_disk(config.path))
    if config.args.get("streaming"):
        raise DataError("dataset.args.streaming is not supported; remove it")
    last = CachedRows(_folder_of_source(config))
    try:
        builder = datasets.load_dataset_builder(**_builder_arguments(config))
    except OSError as error:
        no_network = datasets.config.HF_HUB_OFFLINE or isinstance(error, ConnectionError)
        if no_network and (rows := last.read()) is not None:
            log.warning("No network: using the rows of %s from the last time that it was read", config.path)
            return rows
        raise
    named = _format_of(config)
    form = named if named is not None and named.builder else DATA_FORMATS.spec(builder.name)
    if form.target:
        return _text_splits(builder, config, last, DATA_FORMATS.resolve(form.name))
    if builder.name == "cache" and (rows := last.read()) is not None:
        return rows  # without a network `datasets` returns an earlier load with guessed types
    if config.columns is not None:
        raise DataError(f"dataset.columns applies to csv and json files only, not to {config.path}; remove it")
    return _by_datasets(builder, config)


def _is_saved(path: Path) -> bool:
    """Whether `save_to_disk` wrote `path`, which `load_dataset` cannot read."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _named(loaded: Any) -> dict[str, Rows]:
    splits = loaded if isinstance(loaded, dict) else {"train": loaded}
    return {str(name): Rows(table) for name, table in splits.items()}


def _builder_arguments(config: DatasetConfig) -> dict[str, Any]:
    """Return the arguments of `load_dataset_builder`."""
    path = Path(config.path)
    args = {key: value for key, value in config.args.items() if key not in _NOT_OF_BUILDERS}
    if (content := data_content(config)) is not None and "cache_dir" not in args:
        args["cache_dir"] = cache_of(content)
    form = _format_of(config)
    if form is None or (path.is_dir() and not form.builder):  # a Hub id, a folder, its URL, a builder's name
        return {"path": config.path, **args}
    return {"path": form.builder or form.name, "data_dir" if path.is_dir() else "data_files": config.path, **args}


def _format_of(config: DatasetConfig) -> DataFormatSpec | None:
    """Return the format of the files that `dataset.path` names, if their suffix says it."""
    suffix = _form(Path(config.path))
    return None if suffix is None else DATA_FORMATS[DATA_SUFFIXES[suffix]]


def cache_of(content: str) -> str:
    """Return a cache folder of `datasets` for local files by SHA-256; its own cache is keyed by path and time."""
    import datasets

    return str(Path(datasets.config.HF_DATASETS_CACHE) / "by-content" / content[:32])


def _form(path: Path) -> str | None:
    """Return the suffix of a local file, of most files in a local folder, or of the file behind a URL."""
    if path.is_dir():
        counts = Counter(file.suffix.lower() for file in path.rglob("*") if file.suffix.lower() in DATA_SUFFIXES)
        return max(counts, key=lambda suffix: counts[suffix], default=None)
    text = urlsplit(str(path)).path if "://" in str(path) or ":/" in str(path) else str(path)
    whole = Path(text)
    whole = whole.with_suffix("") if whole.suffix.lower() in COMPRESSED_SUFFIXES else whole
    suffix = whole.suffix.lower()
    return suffix if suffix in DATA_SUFFIXES and (path.is_file() or ":/" in str(path)) else None


def _is_remote(builder: Any) -> bool:
    return any("://" in str(file) for files in builder.config.data_files.values() for file in files)


def _text_splits(builder: Any, config: DatasetConfig, last: CachedRows, reader: Reader) -> Mapping[str, Rows]:
    """Read csv or json files, with a cache for large files (by content) and for remote files (for use offline)."""
    if _is_remote(builder):
        splits = _read_text_files(builder, config, reader)
        last.write(splits)
        return splits
    content = data_content(config)
    size = sum(Path(str(path)).stat().st_size for paths in builder.config.data_files.values() for path in paths)
    if content is None or size < _LARGE:
        return _read_text_files(builder, config, reader)
    reading = digest(
        canonical_json([config.args, config.columns, {k: len(v) for k, v in builder.config.data_files.items()}]), 16
    )
    known = CachedRows(Path(cache_of(content)) / f"rows-{ID_VERSION}-{reading}")
    if (rows := known.read()) is not None:
        return rows
    splits = _read_text_files(builder, config, reader)
    known.write(splits)
    return splits


def _folder_of_source(config: DatasetConfig) -> Path:
    import datasets

    secret = ("token", "storage_options")
    args = {key: value for key, value in config.args.items() if key not in secret}
    name = digest(canonical_json([ID_VERSION, config.path, args, config.columns]), 32)
    return Path(datasets.config.HF_DATASETS_CACHE) / "by-source" / name


def _read_text_files(builder: Any, config: DatasetConfig, reader: Reader) -> dict[str, Rows]:
    files = {
        str(split): list(_data_files(builder, paths, config)) for split, paths in builder.config.data_files.items()
    }
    if not any(files.values()):
        raise DataError(f"{config.path} is empty: it has no data files")
    alone = sum(map(len, files.values())) == 1
    splits: dict[str, Rows] = {}
    for split, split_files in files.items():
        parts: list[Rows] = []
        for file in split_files:
            read = reader(file, config.args, config.columns)
            if isinstance(read, Rows):
                parts.append(read)
            elif alone:
                return read
            else:
                raise DataError(
                    f"{file.shown} holds several splits ({', '.join(read)}); set dataset.path to this file alone"
                )
        splits[split] = concatenated(parts, config.path)
    return {split: _with_label_names(rows, builder) for split, rows in splits.items()}


def _with_label_names(rows: Rows, builder: Any) -> Rows:
    """Replace label numbers by label names if the data set's card declares them (ClassLabel)."""
    for column, feature in (builder.config.features or builder.info.features or {}).items():
        names = getattr(feature, "names", None)
        if names and column in rows.column_names and not rows.is_nested(column):
            numbers: dict[str | None, str | None] = {str(index): name for index, name in enumerate(names)}
            rows = rows.with_texts(column, [numbers.get(text, text) for text in rows.texts(column)])
    return rows


def _data_files(builder: Any, paths: Sequence[str], config: DatasetConfig) -> Iterator[DataFile]:
    """Yield the files; a remote file comes with its local copy."""
    from datasets import DownloadConfig, DownloadManager

    storage = config.args.get("storage_options") or {}
    manager = DownloadManager(
        dataset_name=builder.dataset_name,
        download_config=DownloadConfig(token=config.args.get("token"), storage_options=storage),
    )
    for path in map(str, paths):
        yield DataFile(path, Path(manager.download(path) if "://" in path else path))


def _by_datasets(builder: Any, config: DatasetConfig) -> dict[str, Rows]:
    """Read the rows with `datasets`; read each local file separately if their columns differ."""
    from datasets.exceptions import DatasetGenerationError

    try:
        return _named(_prepared(builder, config))
    except DatasetGenerationError:
        files = builder.config.data_files
        if not files or sum(map(len, files.values())) < 2 or _is_remote(builder):
            raise
    return {
        str(split): concatenated([_alone(builder, str(path), config) for path in paths], config.path)
        for split, paths in files.items()
    }


def _prepared(builder: Any, config: DatasetConfig) -> Any:
    args = config.args
    builder.download_and_prepare(
        verification_mode=args.get("verification_mode") or "basic_checks", num_proc=args.get("num_proc")
    )
    return builder.as_dataset(in_memory=bool(args.get("keep_in_memory")))


def _alone(builder: Any, path: str, config: DatasetConfig) -> Rows:
    """Read one of several files separately."""
    from datasets import load_dataset_builder

    arguments = {key: value for key, value in _builder_arguments(config).items() if key not in ("path", "data_dir")}
    alone = load_dataset_builder(**{**arguments, "path": builder.name, "data_files": path})
    return _named(_prepared(alone, config))["train"]


def rows_sha256(splits: Mapping[str, Rows]) -> str:
    """Return the SHA-256 of all cells of some splits, which identifies a remote data set."""
    state = hashlib.sha256()
    for name, rows in sorted(splits.items()):
        state.update(f"{name}\0{json.dumps(rows.column_names)}\0".encode())
        _hash_table(rows.table, state)
    return state.hexdigest()


def _hash_table(table: Dataset, state: Any) -> None:
    for batch in table.with_format("arrow").iter(
        batch_size=10_000
    ):  # of a fixed size, so that the chunks of the files do not matter
        for part in batch.combine_chunks().to_batches():
            state.update(part.serialize())


__all__ = ["open_source", "rows_sha256"]

"""Content of the user's own plugins: an edited plugin is different work. Files are located, never imported.

A plugin is named `"module:function"`. Its file counts, and so do the user's own files that it imports. Installed
modules (the standard library, site-packages, this package) are left out: the result records their versions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name
from pathlib import Path

from sft.foreign import is_users_file, module_paths
from sft.io import digest, hash_path

_OWN = __name__.partition(".")[0]


def plug_content(plugin: str) -> str | None:
    """Return `sha256:…` of the source of `"module:function"` and of the user's own modules that it imports.

    Return None for anything else: a plain name, an installed module, a missing module. The same source in another
    folder, or next to other files, gives the same hash.
    """
    module, colon, _ = plugin.partition(":")
    files = _files(module) if colon and module else {}
    if module not in files:
        return None
    return f"sha256:{digest(chr(10).join(f'{name} {hash_path(file)}' for name, file in sorted(files.items())))}"


def _files(module: str) -> dict[str, Path]:
    """Return the user's own source files of a module and its imports, by module name."""
    files: dict[str, Path] = {}
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if parent := name.rpartition(".")[0]:
            waiting.append(parent)  # importing a.b runs a first
        spec = _spec(name)
        if spec is None or spec.origin is None or not _is_users(spec):
            continue
        files[name] = file = Path(spec.origin)
        stat = file.stat()
        package = name if spec.submodule_search_locations is not None else parent
        waiting.extend(_imports(file, package, stat.st_size, stat.st_mtime_ns))
    return files


def _spec(module: str) -> ModuleSpec | None:
    """Return the spec of a module. Parents are located, not imported, unlike in `importlib.util.find_spec`."""
    top, *rest = module.split(".")
    if top == _OWN or not all([top, *rest]):
        return None
    spec, name = PathFinder.find_spec(top, module_paths()), top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None or not _is_users(spec):
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec


def _is_users(spec: ModuleSpec) -> bool:
    """Return whether a module (or a folder of modules without `__init__.py`) is the user's own, not installed."""
    files = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
    return bool(files) and all(is_users_file(Path(file).absolute()) for file in files)


@lru_cache(maxsize=256)
def _imports(file: Path, package: str, size: int, mtime_ns: int) -> tuple[str, ...]:
    """Return the names of all modules that a source file may import, anywhere in it."""
    del size, mtime_ns  # only part of the cache's key
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # compiled, or broken: importing it will report that
        return ()
    return tuple(dict.fromkeys(name for node in ast.walk(tree) for name in _named_in(node, package)))


def _named_in(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        relative = "." * node.level + (node.module or "")
        try:
            base = resolve_name(relative, package)
        except ImportError:  # beyond the top package
            return
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)  # each may be a module

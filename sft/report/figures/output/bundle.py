"""The JavaScript that draws figures in a page: Vega, Vega-Lite and vega-embed as one script, from vl-convert.

Building it takes seconds, so it is cached by version in `$XDG_CACHE_HOME/sft/figures` (`~/.cache/...`). The file is
written atomically and checked when it is read. The folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

from sft.io import write_atomic
from sft.log import get_logger

log = get_logger(__name__)

_FORM = 2  # increase when the script is built differently
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
_PREFIX = b"// sha256:"


def bundle() -> str:
    """Return a script that defines `window.vegaEmbed` and fetches nothing by itself.

    If the cache cannot be written, the script is built again each time.
    """
    file = cache_folder() / f"vega-embed-{version('vl-convert-python')}-{_FORM}.js"
    if (cached := _read(file)) is not None:
        return cached
    import vl_convert

    # in a function, to keep its thousands of names away from the other scripts of the page
    script = f"(() => {{\n{vl_convert.javascript_bundle(_SNIPPET)}\n}})();"
    data = script.encode("utf-8")
    try:
        write_atomic(file, b"%b%b %d\n%b" % (_PREFIX, hashlib.sha256(data).hexdigest().encode(), len(data), data))
    except OSError as error:
        log.debug("the script that draws figures is not cached: %s", error)
    return script


def bundle_versions() -> dict[str, str]:
    """Return name -> version of the libraries in the script."""
    import vl_convert

    return {
        "Vega": str(vl_convert.get_vega_version()),
        "Vega-Lite": str(vl_convert.get_vegalite_versions()[-1]),
        "vega-embed": str(vl_convert.get_vega_embed_version()),
    }


def cache_folder() -> Path:
    """Return the folder of the cached script."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sft" / "figures"


def _read(file: Path) -> str | None:
    """Return the script below the file's first line; None if the file is absent or does not match the hash there."""
    try:
        first, _, data = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    expected = b"%b%b %d" % (_PREFIX, hashlib.sha256(data).hexdigest().encode(), len(data))
    if first == expected:
        return data.decode("utf-8")
    log.warning("%s is corrupt; rebuilding", file)
    return None

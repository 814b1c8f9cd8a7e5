"""The JavaScript that draws figures in a page: Vega, Vega-Lite and vega-embed as one script, out of vl-convert.

Putting it together takes seconds, so it is kept by version in `$XDG_CACHE_HOME/sft/figures` (`~/.cache/...`), written
whole or not at all and checked when it is read. The folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

from sft.io import write_atomic
from sft.log import get_logger

log = get_logger(__name__)

_FORM = 2  # raised when the script is put together in another way
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
_PREFIX = b"// sha256:"


def bundle() -> str:
    """A script that defines `window.vegaEmbed` and fetches nothing by itself.

    A folder that cannot be written is no error: the script is put together again.
    """
    file = cache_folder() / f"vega-embed-{version('vl-convert-python')}-{_FORM}.js"
    if (found := _read(file)) is not None:
        return found
    import vl_convert

    # in a function, since its thousands of names would else be those of all scripts of the page
    script = f"(() => {{\n{vl_convert.javascript_bundle(_SNIPPET)}\n}})();"
    data = script.encode("utf-8")
    try:
        write_atomic(file, b"%b%b %d\n%b" % (_PREFIX, hashlib.sha256(data).hexdigest().encode(), len(data), data))
    except OSError as error:
        log.debug("the script that draws figures is not kept: %s", error)
    return script


def bundle_versions() -> dict[str, str]:
    """Name -> version of what the script is made of."""
    import vl_convert

    return {
        "Vega": str(vl_convert.get_vega_version()),
        "Vega-Lite": str(vl_convert.get_vegalite_versions()[-1]),
        "vega-embed": str(vl_convert.get_vega_embed_version()),
    }


def cache_folder() -> Path:
    """Where the script lies."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sft" / "figures"


def _read(file: Path) -> str | None:
    """What the file holds below its first line; None where it is absent, or not what that line says."""
    try:
        first, _, data = file.read_bytes().partition(b"\n")
    except OSError:
        return None
    said = b"%b%b %d" % (_PREFIX, hashlib.sha256(data).hexdigest().encode(), len(data))
    if first == said:
        return data.decode("utf-8")
    log.warning("%s is damaged; it is made anew", file)
    return None

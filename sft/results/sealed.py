"""JSON that tells when it has been cut off or changed: its first key is the SHA-256 of all its bytes.

The digest is taken with zeros in its own place, over the bytes and not the values, so that any single flipped bit
shows, one in the white space or in the spelling of a number too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from sft.io import json_text, parse_json

_KEY = "checksum"
_ZEROS = "0" * 64
_SEAL = re.compile(rb'\A\{\s*"checksum": "sha256:([0-9a-f]{64})"')


def seal(value: Mapping[str, Any]) -> str:
    """`value` as JSON text with its checksum."""
    text = json_text({_KEY: f"sha256:{_ZEROS}", **value})
    return text.replace(_ZEROS, hashlib.sha256(text.encode("utf-8")).hexdigest(), 1)


def is_whole(data: bytes) -> bool:
    """Whether these are the bytes that `seal` gave; what they say is not looked at."""
    found = _SEAL.match(data)
    return found is not None and _digest(data, found) == found[1]


def unsealed(data: bytes) -> dict[str, Any]:
    """The value that was sealed; or one of the first version, which had no checksum.

    Raises:
        ValueError: with the reason, when the bytes are not those that `seal` gave.
    """
    found = _SEAL.match(data)
    if found is None:
        value = parse_json(data.decode("utf-8"))
        if isinstance(value, dict) and value.get("schema_version") == 1 and _KEY not in value:
            return value
        raise ValueError("it does not begin with a checksum")
    if _digest(data, found) != found[1]:
        raise ValueError("its checksum does not fit: it was cut off or changed")
    value = parse_json(data.decode("utf-8"))
    del value[_KEY]
    return dict(value)


def _digest(data: bytes, found: re.Match[bytes]) -> bytes:
    start, end = found.span(1)
    return hashlib.sha256(data[:start] + _ZEROS.encode() + data[end:]).hexdigest().encode()

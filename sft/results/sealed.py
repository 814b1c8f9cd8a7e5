"""JSON with a checksum that detects truncation and changes: its first key is the SHA-256 of all bytes.

For the digest, zeros replace the checksum. It covers the bytes, not the values, so any flipped bit is detected, even in
white space or in the notation of a number.
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
    """Return `value` as JSON with its checksum."""
    text = json_text({_KEY: f"sha256:{_ZEROS}", **value})
    return text.replace(_ZEROS, hashlib.sha256(text.encode("utf-8")).hexdigest(), 1)


def is_intact(data: bytes) -> bool:
    """Return whether these are the bytes that `seal` returned. Their content is not parsed."""
    match = _SEAL.match(data)
    return match is not None and _digest(data, match) == match[1]


def unsealed(data: bytes) -> dict[str, Any]:
    """Return the sealed value, or a value of version 1, which had no checksum.

    Raises:
        ValueError: the bytes are not those that `seal` returned; with the reason.
    """
    match = _SEAL.match(data)
    if match is None:
        value = parse_json(data.decode("utf-8"))
        if isinstance(value, dict) and value.get("schema_version") == 1 and _KEY not in value:
            return value
        raise ValueError("it does not start with a checksum")
    if _digest(data, match) != match[1]:
        raise ValueError("its checksum does not match: it was truncated or changed")
    value = parse_json(data.decode("utf-8"))
    del value[_KEY]
    return dict(value)


def _digest(data: bytes, match: re.Match[bytes]) -> bytes:
    start, end = match.span(1)
    return hashlib.sha256(data[:start] + _ZEROS.encode() + data[end:]).hexdigest().encode()

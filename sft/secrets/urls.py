"""Credentials in URLs: user and password, and parameters such as `?X-Amz-Signature=…`. Knows no URL's meaning."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from sft.secrets.names import names_secret

PLACEHOLDER = "<redacted>"
LONG_NAME = 16  # a user's name of so many characters is likely a token

_WHOLE = re.compile(r"[\w+.:-]*://\S+")
# In a password, a slash that should have been quoted is let pass; but a port with a path behind it is no password.
_USER = re.compile(
    r"""(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"""
    r"""(?P<user>[^\s/?#"'`]*|[^\s/:@"'`]+:(?!\d{1,5}(?:[/?#\s"'`]|$))(?:(?!://)[^\s@"'`])*)@"""
)
_PARAMETER = re.compile(r"""(?P<before>[?&;#])(?P<name>[\w.%-]{1,60})=(?P<value>[^&#;\s"'`<>\\]+)""")
_SIGNATURE = re.compile(r"(?:.*[-_.])?sig(?:nature)?", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether a text is an URL as a whole."""
    return "://" in text and _WHOLE.fullmatch(text) is not None


def without_credentials(text: str, for_identity: bool, met: Callable[[str], None]) -> str:
    """A text whose URLs have lost their credentials.

    Args:
        text: with any number of URLs in it.
        for_identity: keep what may say which data is meant: a user's name, and a parameter called `key`.
        met: told each credential, as it stands and unquoted.
    """

    def user(found: re.Match[str]) -> str:
        name, colon, password = found["user"].partition(":")
        if not found["user"] or (not colon and not found["scheme"].lower().endswith(("http", "https"))):
            return found[0]  # abfss://container@account: no user, but part of the place
        for credential in (password, name if not colon or len(name) >= LONG_NAME else ""):
            met(credential)
            met(unquote(credential))
        kept = f"{name}:" if for_identity and colon else ""
        return f"{found['scheme']}://{kept}{PLACEHOLDER}@"

    def parameter(found: re.Match[str]) -> str:
        name = unquote(found["name"])
        ambiguous = name.lower() == "key" and not for_identity
        if not ambiguous and not names_secret(name) and not _SIGNATURE.fullmatch(name):
            return found[0]
        met(found["value"])
        met(unquote(found["value"]))
        return f"{found['before']}{found['name']}={PLACEHOLDER}"

    return _PARAMETER.sub(parameter, _USER.sub(user, text))

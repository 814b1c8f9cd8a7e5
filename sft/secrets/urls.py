"""Credentials in URLs: user and password, and parameters such as `?X-Amz-Signature=…`. Knows no URL's meaning."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from sft.secrets.names import names_secret, surely_names_secret

PLACEHOLDER = "<redacted>"
LONG_NAME = 16  # a user's name of so many characters is likely a token

_WHOLE = re.compile(r"[\w+.:-]*://\S+")
# In a password, a slash that should have been quoted is let pass; but a port with a path behind it is no password.
_USER = re.compile(
    r"""(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"""
    r"""(?P<user>[^\s/?#"'`]*|[^\s/:@"'`]+:(?!\d{1,5}(?:[/?#\s"'`]|$))(?:(?!://)[^\s@"'`])*)@"""
)
_PARAMETER = re.compile(r"""(?P<before>[?&;#])(?P<name>[\w.%-]{1,60})=(?P<value>[^&#;\s"'`<>\\]+)""")
# Where a colon before the @ is part of the place (fsspec: `github://org:repo@ref`, `git://path:ref@`).
_NO_USERS = ("github", "git")
# Where what stands before the @ is a user and a password, and can be nothing else; in others it may be a version.
_SURELY_USERS = {
    "http", "https", "ftp", "ftps", "sftp", "ssh", "postgres", "postgresql", "mysql", "mariadb", "mongodb", "redis",
    "rediss", "mssql", "oracle", "snowflake", "clickhouse", "cockroachdb", "redshift", "smb", "webdav", "webdavs",
}  # fmt: skip
_SURE_SIGNATURES = ("sig", "x-amz-signature", "x-amz-credential", "x-goog-signature", "x-goog-credential")
# Parameters that are a credential in an URL, and by themselves a name of many things.
_IN_URLS = {"key", "code", "ticket", "otp", "nonce", "sid", "sessionid", "session_id", "session", "hmac", "hash_key"}
_SIGNATURE = re.compile(r"(?:.*[-_.])?sig(?:nature)?", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether a text is an URL as a whole."""
    return "://" in text and _WHOLE.fullmatch(text) is not None


def without_credentials(text: str, for_identity: bool, met: Callable[[str], None]) -> str:
    """A text whose URLs have lost their credentials.

    Args:
        text: with any number of URLs in it.
        for_identity: keep what may say which data is meant: all but passwords where there can be no other thing, and
            parameters that are credentials beyond doubt.
        met: told each credential, as it stands and unquoted.
    """

    def user(found: re.Match[str]) -> str:
        name, colon, password = found["user"].partition(":")
        scheme = found["scheme"].lower()
        if not found["user"] or scheme in _NO_USERS or (not colon and not scheme.endswith(("http", "https"))):
            return found[0]  # abfss://container@account: no user, but part of the place
        if for_identity and (not colon or "/" in password or _SURELY_USERS.isdisjoint(scheme.split("+"))):
            return found[0]  # sftp://host:/data/train@v1.csv
        for credential in (password, name if not colon or len(name) >= LONG_NAME else ""):
            met(credential)
            met(unquote(credential))
        kept = f"{name}:" if for_identity else ""
        return f"{found['scheme']}://{kept}{PLACEHOLDER}@"

    def parameter(found: re.Match[str]) -> str:
        if not _is_credential(unquote(found["name"]), for_identity):
            return found[0]
        met(found["value"])
        met(unquote(found["value"]))
        return f"{found['before']}{found['name']}={PLACEHOLDER}"

    return _PARAMETER.sub(parameter, _USER.sub(user, text))


def _is_credential(parameter: str, surely: bool) -> bool:
    if surely:
        return surely_names_secret(parameter) or parameter.lower() in _SURE_SIGNATURES
    return parameter.lower() in _IN_URLS or names_secret(parameter) or _SIGNATURE.fullmatch(parameter) is not None

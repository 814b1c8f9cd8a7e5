"""Credentials in URLs: user and password, and parameters such as `?X-Amz-Signature=…`."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from sft.secrets.names import names_secret, surely_names_secret

PLACEHOLDER = "<redacted>"
LONG_NAME = 16  # a user name of at least this many characters is probably a token

_WHOLE = re.compile(r"[\w+.:-]*://\S+")
# A password may have an unquoted slash; a port with a path after it is not a password.
_USER = re.compile(
    r"""(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"""
    r"""(?P<user>[^\s/?#"'`]*|[^\s/:@"'`]+:(?!\d{1,5}(?:[/?#\s"'`]|$))(?:(?!://)[^\s@"'`])*)@"""
)
_PARAMETER = re.compile(r"""(?P<before>[?&;#])(?P<name>[\w.%-]{1,60})=(?P<value>[^&#;\s"'`<>\\]+)""")
# Schemes in which a colon before the @ is part of the path (fsspec: `github://org:repo@ref`, `git://path:ref@`).
_NO_USERS = ("github", "git")
# Schemes in which only a user and a password can precede the @; in others it may be a version.
_SURELY_USERS = {
    "http", "https", "ftp", "ftps", "sftp", "ssh", "postgres", "postgresql", "mysql", "mariadb", "mongodb", "redis",
    "rediss", "mssql", "oracle", "snowflake", "clickhouse", "cockroachdb", "redshift", "smb", "webdav", "webdavs",
}  # fmt: skip
_SURE_SIGNATURES = ("sig", "x-amz-signature", "x-amz-credential", "x-goog-signature", "x-goog-credential")
# Parameters that are credentials in a URL, although their names mean many things elsewhere.
_IN_URLS = {"key", "code", "ticket", "otp", "nonce", "sid", "sessionid", "session_id", "session", "hmac", "hash_key"}
_SIGNATURE = re.compile(r"(?:.*[-_.])?sig(?:nature)?", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Return whether a whole text is a URL."""
    return "://" in text and _WHOLE.fullmatch(text) is not None


def without_credentials(text: str, for_identity: bool, met: Callable[[str], None]) -> str:
    """Return a text without the credentials of its URLs.

    Args:
        text: with any number of URLs.
        for_identity: keep everything that may identify the data: remove only certain passwords and certain credential
            parameters.
        met: called with each credential, quoted and unquoted.
    """

    def user(match: re.Match[str]) -> str:
        name, colon, password = match["user"].partition(":")
        scheme = match["scheme"].lower()
        if not match["user"] or scheme in _NO_USERS or (not colon and not scheme.endswith(("http", "https"))):
            return match[0]  # abfss://container@account: not a user, but part of the path
        if for_identity and (not colon or "/" in password or _SURELY_USERS.isdisjoint(scheme.split("+"))):
            return match[0]  # sftp://host:/data/train@v1.csv
        for credential in (password, name if not colon or len(name) >= LONG_NAME else ""):
            met(credential)
            met(unquote(credential))
        kept = f"{name}:" if for_identity else ""
        return f"{match['scheme']}://{kept}{PLACEHOLDER}@"

    def parameter(match: re.Match[str]) -> str:
        if not _is_credential(unquote(match["name"]), for_identity):
            return match[0]
        met(match["value"])
        met(unquote(match["value"]))
        return f"{match['before']}{match['name']}={PLACEHOLDER}"

    return _PARAMETER.sub(parameter, _USER.sub(user, text))


def _is_credential(parameter: str, surely: bool) -> bool:
    if surely:
        return surely_names_secret(parameter) or parameter.lower() in _SURE_SIGNATURES
    return parameter.lower() in _IN_URLS or names_secret(parameter) or _SIGNATURE.fullmatch(parameter) is not None

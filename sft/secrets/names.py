"""Names of secrets: keys of configs, parameters of URLs, environment variables."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Literal

Context = Literal["plain", "storage", "template", "data"]

# Words that make any name with them the name of a secret.
_WORDS = {
    "password", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets", "credential", "credentials",
    "authorization", "bearer", "cookie", "cookies", "jwt", "apikey", "accesskey", "secretkey", "privatekey",
    "authtoken", "accesstoken", "apitoken", "hftoken", "hubtoken", "sastoken", "connectionstring", "webhook",
    "webhooks", "dsn",
}  # fmt: skip
_LAST_WORDS = {"token", "auth", "authentication", "sas", "pw", "pass", "pat"}
# After these words, `pass`, `pw` and `pat` do not name a secret: `forward_pass`.
_PASSES = {"forward", "backward", "first", "second", "third", "single", "one", "two", "multi", "per", "last", "each"}
_BEFORE_KEY = {
    "api", "access", "private", "account", "secret", "storage", "signing", "encryption", "shared", "master", "service",
    "subscription", "ssh", "auth", "security", "deploy", "license", "db",
    # services
    "openai", "anthropic", "kaggle", "wandb", "hf", "huggingface", "mistral", "cohere", "groq", "gemini", "google",
    "azure", "aws", "gcp", "s3", "minio", "github", "gitlab", "slack", "comet", "neptune", "clearml", "mlflow",
    "replicate", "together", "fireworks", "deepseek", "openrouter", "perplexity", "cerebras", "nvidia", "ngc",
}  # fmt: skip
_BEFORE_TOKENS = {"api", "access", "auth", "oauth", "bearer", "refresh", "session", "security", "hf", "hub", "sas"}
# Directly before `token`, they make it a token of text: `eos_token`, `vision_start_token`, `flops_per_token`.
_OF_VOCABULARY = {
    "eos", "bos", "pad", "unk", "sep", "cls", "mask", "image", "img", "video", "audio", "speech", "vision", "text",
    "boi", "eoi", "boa", "eoa", "eot", "eod", "bod", "start", "end", "begin", "stop", "special", "prefix", "suffix",
    "middle", "fim", "word", "delimiter", "blank", "space", "line", "lang", "language", "code", "task", "next", "new",
    "last", "first", "per", "to", "group", "fake", "contextholder", "think", "thinking", "tool", "response", "role",
    "message", "msg", "step", "sampled", "class", "question", "context", "added", "utterance", "patch", "break",
    "augmentation",
}  # fmt: skip
_IN_STORAGE = {"key", "secret", "token", "password", "passphrase", "pkey", "auth"}  # in fsspec's storage_options
# Keys inside these objects are labels or columns.
_NAMES_ARE_DATA = {"verbalizers", "features", "dtype", "converters"}
# Keys inside are variables of a chat template: `answer_token`, `secret_word`. Only certain names are secrets.
_NAMES_ARE_VARIABLES = "chat_template_kwargs"
# Names, in lower case without separators, of credentials only: not `label_token`, not `secret_word`.
_CERTAIN = {
    "token", "hftoken", "hubtoken", "pushtohubtoken", "useauthtoken", "authtoken", "accesstoken", "refreshtoken",
    "apitoken", "bearertoken", "sessiontoken", "awssessiontoken", "sastoken", "xauthtoken", "xamzsecuritytoken",
    "apikey", "xapikey", "openaiapikey", "accesskey", "accesskeyid", "awsaccesskeyid", "secretkey", "secretaccesskey",
    "awssecretaccesskey", "accountkey", "privatekey", "clientsecret", "password", "passwd", "authorization",
    "connectionstring",
}  # fmt: skip
_NO_SECRET_ITSELF = ("_PATH", "_FILE", "_DIR", "_DIRECTORY", "_FOLDER", "_SOCK")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@lru_cache(maxsize=8192)
def names_secret(name: str) -> bool:
    """Return whether a key with this name holds a secret, by its words in snake_case, camelCase or dash-case."""
    words = [part.lower() for part in _PARTS.findall(name)]
    if not words:
        return False
    if not _WORDS.isdisjoint(words):
        return True
    if words[-1] in _LAST_WORDS:
        if words[-1] in ("pass", "pw", "pat"):
            return len(words) == 1 or words[-2] not in _PASSES
        return words[-1] != "token" or len(words) == 1 or words[-2] not in _OF_VOCABULARY
    if words[-1] == "tokens" and len(words) > 1:
        return words[-2] in _BEFORE_TOKENS
    return any(
        (second in ("key", "keys") and first in _BEFORE_KEY)
        or (second in ("string", "str") and first in ("connection", "conn"))
        for first, second in pairwise(words)
    )


@lru_cache(maxsize=8192)
def surely_names_secret(name: str) -> bool:
    """Return whether a key with this name holds only a credential, on which no work depends."""
    return "".join(part.lower() for part in _PARTS.findall(name)) in _CERTAIN


@lru_cache(maxsize=8192)
def sure_context_of(key: str, context: Context) -> Context | None:
    """Return the context as `context_of` does; None only for a certain credential, on which no work depends."""
    inside = context_of(key, context)
    if inside is not None or (context != "template" and (context != "plain" or surely_names_secret(key))):
        return inside
    return context


@lru_cache(maxsize=8192)
def context_of(key: str, context: Context) -> Context | None:
    """Return the context of a key's value from the context of the key; None: the value is a secret."""
    if context == "data":
        return "data"
    if context == "template":
        return None if surely_names_secret(key) else "template"
    if names_secret(key) or (context == "storage" and key.lower() in _IN_STORAGE):
        return None
    if key in _NAMES_ARE_DATA:
        return "data"
    if key == _NAMES_ARE_VARIABLES:
        return "template"
    return "storage" if key == "storage_options" else context


# Words that make an environment variable a secret: its name never means a column, a label or a token of text.
_IN_ENVIRONMENT = {
    "KEY", "KEYS", "TOKEN", "TOKENS", "SECRET", "SECRETS", "PASS", "PASSWD", "PASSWORD", "PASSWORDS", "PASSPHRASE",
    "PWD", "PW", "PAT", "CREDENTIAL", "CREDENTIALS", "CREDS", "AUTH", "AUTHORIZATION", "COOKIE", "COOKIES", "WEBHOOK",
    "WEBHOOKS", "DSN", "JWT", "BEARER",
}  # fmt: skip
_WITHIN_WORDS = (
    "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "APIKEY", "APITOKEN", "ACCESSKEY", "PRIVATEKEY", "AUTHTOKEN",
)  # fmt: skip
_NO_SECRETS = {"PWD", "OLDPWD"}  # the shell's working directories


def is_secret_variable(name: str) -> bool:
    """Return whether an environment variable with this name holds a secret, by its words in any spelling."""
    if name.upper() in _NO_SECRETS or name.upper().endswith(_NO_SECRET_ITSELF):
        return False
    words = {part.upper() for part in _PARTS.findall(name)}
    return not words.isdisjoint(_IN_ENVIRONMENT) or any(part in name.upper() for part in _WITHIN_WORDS)

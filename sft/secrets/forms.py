"""Secrets that are recognised by their form: tokens with the prefix of a service, keys, signed tokens.

The package detect-secrets provides the forms of most services; the missing ones are defined here. It is imported only
for strings that could hold a secret.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module

from sft.secrets.urls import PLACEHOLDER

# Detectors of detect-secrets whose forms need no context: module, class.
_DETECTORS = (
    ("azure_storage_key", "AzureStorageKeyDetector"), ("discord", "DiscordBotTokenDetector"),
    ("github_token", "GitHubTokenDetector"), ("gitlab_token", "GitLabTokenDetector"), ("jwt", "JwtTokenDetector"),
    ("mailchimp", "MailchimpDetector"), ("npm", "NpmDetector"), ("openai", "OpenAIDetector"),
    ("pypi_token", "PypiTokenDetector"), ("sendgrid", "SendGridDetector"), ("slack", "SlackDetector"),
    ("square_oauth", "SquareOAuthDetector"), ("stripe", "StripeDetector"),
    ("telegram_token", "TelegramBotTokenDetector"), ("twilio", "TwilioKeyDetector"),
)  # fmt: skip
# Prefixes that only tokens have, and prefixes that need a digit after them to be distinguished from words.
_SURE = r"(?:hf_|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|xapp-|api_org_)[\w-]{16,}"
_LIKELY = (
    r"(?:sk-|gsk_|nvapi-|pplx-|xai-|tvly-|lsv2_|npm_|dckr_pat_|dop_v1_|shpat_|wandb_v1_|pcsk_|sq0[a-z]{3}-|r8_"
    r"|[rs]k_(?:live|test)_|ya29\.|AIza|AGE-SECRET-KEY-1)(?=[\w.-]*\d)[\w-]{20,}"
)
_AWS = r"A(?:KI|SI|BI|CC)A[0-9A-Z]{16}"
# Recognised by the preceding text. A key of wandb looks like a commit hash.
_IN_CONTEXT = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
    r"|(?<=[Bb]earer )(?=\S*\d)[\w.~+/=-]{16,}|(?<=[Bb]asic )(?=\S*[\d=])[A-Za-z0-9+/=]{16,}",
    re.DOTALL,
)
_WANDB = re.compile(r"(?P<before>wandb[^\n]{0,60}?(?<![0-9A-Za-z]))[0-9a-f]{40}(?![0-9A-Za-z])", re.IGNORECASE)
_STRETCH = re.compile(r"[\w+/=.-]{20,}", re.ASCII)  # every form has one


def without_forms(text: str) -> str:
    """Return `text` with a placeholder for each secret that is recognised by its form."""
    text = _IN_CONTEXT.sub(PLACEHOLDER, text)
    if _STRETCH.search(text) is None:
        return text
    text = _WANDB.sub(rf"\g<before>{PLACEHOLDER}", text)
    return _all_forms().sub(PLACEHOLDER, text)


@lru_cache(maxsize=1)
def _all_forms() -> re.Pattern[str]:
    forms = [_SURE, _LIKELY, _AWS]
    for module, name in _DETECTORS:
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)
        forms += [form.pattern for form in detector.denylist]
    # as a whole word with all following word characters: some forms end early
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(f'(?:{form})' for form in forms)})(?![A-Za-z0-9])[\w=-]*")

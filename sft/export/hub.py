"""Upload a folder to the Hub, with a token from the environment."""

from __future__ import annotations

import os
from pathlib import Path

from sft.errors import UserError
from sft.foreign import one_line

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def require_token() -> str:
    """Return the token, before any work starts.

    Raises:
        UserError: the environment has no token.
    """
    token = next((value for name in TOKENS if (value := os.environ.get(name, "").strip())), "")
    if not token:
        raise UserError("--push-to-hub needs a token with write permission; set HF_TOKEN in the environment")
    return token


def push(folder: Path, repository: str, token: str) -> str:
    """Upload a folder to a model repository, which is created (private) if missing, and return its URL.

    Raises:
        UserError: no network, no permission, or an invalid repository name.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError

    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repository, ignore_patterns=[".*"])
    except (HTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f'--push-to-hub: "{repository}" was not written: {one_line(error)}; the files are in {folder}'
        ) from error
    return f"https://huggingface.co/{repository}"

"""A folder uploaded to the hub, with a token from the environment. Knows nothing of what lies in it."""

from __future__ import annotations

import os
from pathlib import Path

from sft.errors import UserError
from sft.foreign import one_line

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def require_token() -> str:
    """The token, before any work is done.

    Raises:
        UserError: the environment holds none.
    """
    token = next((value for name in TOKENS if (value := os.environ.get(name, "").strip())), "")
    if not token:
        raise UserError("--push-to-hub needs a token that may write: set HF_TOKEN in the environment")
    return token


def push(folder: Path, repository: str, token: str) -> str:
    """Upload the folder's files to a model repository, which is made (private) where there is none; its address.

    Raises:
        UserError: no network, no such right, or a name that the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError

    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repository, ignore_patterns=[".*"])
    except (HTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f'--push-to-hub: "{repository}" was not written: {one_line(error)}; the files lie in {folder}'
        ) from error
    return f"https://huggingface.co/{repository}"

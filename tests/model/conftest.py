"""Models and tokenizers on disk, as a user's folder holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def save_model(
    make_model: Callable[..., Any], make_tokenizer: Callable[..., Any], tmp_path: Path
) -> Callable[..., str]:
    """Save a tiny model with its tokenizer; the folder's path. `save_model("gpt2", seed=1)`."""

    def save(family: str = "llama", **overrides: Any) -> str:
        folder = tmp_path / f"{family}-{len(list(tmp_path.iterdir()))}"
        make_model(family, **overrides).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        return str(folder)

    return save

"""The wrapped model generates with a cache only if the cache does not change the answers."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")


@pytest.mark.parametrize(("window", "tokens"), [(None, 20), (16, 20), (16, 10)])
def test_answers_equal_those_of_plain_forwards(
    window: int | None, tokens: int, make_model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from sft.harness.language_model import WrappedModel

    model = make_model(initializer_range=0.3, sliding_window=window)
    ids = torch.arange(20, 20 + tokens)[None].repeat(2, 1)
    ids[1, :7] = 0
    mask = (ids > 0).long()
    settings = {"max_length": tokens + 12, "use_cache": True, "do_sample": False, "pad_token_id": 256}
    with caplog.at_level(logging.INFO, logger="sft"):
        for _ in range(2):
            generated = WrappedModel(model).generate(input_ids=ids, attention_mask=mask, **settings)
    for row, prompt in enumerate((ids[0], ids[1, 7:])):
        text = prompt
        for _ in range(12):
            with torch.no_grad():
                logits = model(input_ids=text[None], use_cache=False).logits
            text = torch.cat([text, logits[0, -1:].argmax(-1)])
        assert generated[row, -12:].tolist() == text[-12:].tolist()
    messages = [record.message for record in caplog.records if "without a cache" in record.message]
    assert len(messages) == (window is not None), "one message per model"

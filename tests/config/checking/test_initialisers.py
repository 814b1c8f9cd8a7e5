"""Settings that an initialiser's name rules out, reported before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from sft.config.checking.initialisers import start_problems

NF4 = {"config_class": "BitsAndBytesConfig", "args": {"load_in_4bit": True}}


@pytest.mark.parametrize("section", ["lora", "adapter"])
@pytest.mark.parametrize(
    ("given", "quantization", "where"),
    [
        ({"init_lora_weights": "loftq"}, NF4, "init_lora_weights"),
        ({"init_lora_weights": "mica"}, NF4, "init_lora_weights"),
        ({"init_lora_weights": "lora_ga"}, NF4, "init_lora_weights"),
        ({"init_lora_weights": "pissa", "use_dora": True}, None, "use_dora"),
        ({"init_lora_weights": "pissa_niter_4", "use_dora": True}, None, "use_dora"),
        ({"init_lora_weights": "loftq"}, None, None),
        ({"init_lora_weights": "pissa"}, NF4, None),
        ({"init_lora_weights": "pca", "use_dora": True}, NF4, None),
        ({"init_lora_weights": True, "use_dora": True}, NF4, None),
        ({"init_lora_weights": ["pissa"], "use_dora": 1}, NF4, None),
        ("pissa", NF4, None),
    ],
)
def test_contradictions(section: str, given: Any, quantization: Any, where: str | None) -> None:
    data = {section: given, "model": {"name": "m", "quantization": quantization}}
    assert [problem.where for problem in start_problems(data)] == ([f"{section}.{where}"] if where else [])


def test_the_message_has_the_reason() -> None:
    (problem,) = start_problems({"lora": {"init_lora_weights": "loftq"}, "model": {"quantization": NF4}})
    assert problem.what == '"loftq" is not possible with model.quantization: it starts from the quantisation error'

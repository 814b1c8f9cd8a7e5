"""Scores and answers equal those of plain forwards, even if an architecture deviates from its config."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from sft.inference.classification import score_labels
from sft.inference.generating.engine import GenerationSettings, generate

VOCABULARY = 300
# Sizes under the names that configs have for them; each config is given those that it knows.
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "n_embd": 32, "d_model": 32, "word_embed_proj_dim": 32,
    "intermediate_size": 64, "ffn_dim": 64, "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rotary_dim": 8,
    "max_position_embeddings": 512, "n_positions": 512, "bos_token_id": None, "eos_token_id": 258, "pad_token_id": None,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "is_decoder": True,
}  # fmt: skip
_SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 2},
    "cwm": {"bos_token_id": 0},
    "dots1": {"n_shared_experts": 1},
    "falcon": {"alibi": True, "num_kv_heads": 2, "new_decoder_architecture": True},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 48, "num_heads": 4},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 2},
    "gemma4_text": {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2, "state_size": 8, "n_groups": 2},
}
_SLOW = {"kimi_linear"}  # a loop in Python for each token
_LARGEST = 6_000_000  # parameters: what cannot be made smaller by these sizes is left out


EXACT = 1e-4
TOKENS = 5
WINDOW = {"sliding_window": 32}
TYPES = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
VARIANTS: dict[str, dict[str, Any]] = {"as it is": {}, "a window": WINDOW, "types of layers": TYPES}
LABELS = [[5, 6, 258], [5, 258], [5, 6, 7, 8, 258], [9, 258]]
WITHOUT = "without the sliding window of its config: "


def tiny(architecture: str, seed: int = 0, **overrides: Any) -> Any:
    """A random causal model in fp32, whose logits depend strongly on all of the text.

    Raises:
        ValueError: these sizes do not make it small. Other errors: they do not fit it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    plain = AutoConfig.for_model(architecture)
    known = {*plain.to_dict(), *plain.attribute_map}
    sizes = {name: size for name, size in _SIZES.items() if name in known}
    if "kv_lora_rank" in known:  # keys and values of all heads come of one compressed state
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    config = AutoConfig.for_model(architecture, **{**sizes, **_SPECIAL.get(architecture, {}), **overrides})
    for name in [name for name in config.to_dict() if "drop" in name and isinstance(getattr(config, name), float)]:
        setattr(config, name, 0.0)
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    if count > _LARGEST:
        raise ValueError(f"{architecture} has {count} parameters")
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
    return model


def plain_logits(model: Any, ids: Sequence[int]) -> Any:
    """Logits [S, V] of one text, float64."""
    fed = torch.tensor([list(ids)])
    with torch.no_grad():
        return model(input_ids=fed, attention_mask=torch.ones_like(fed), use_cache=False).logits[0].double()


def plain_scores(model: Any, prompts: Sequence[list[int]], labels: Sequence[list[int]]) -> Any:
    """log p of every label after every prompt [N, L]."""
    scores = np.zeros((len(prompts), len(labels)))
    for row, prompt in enumerate(prompts):
        for column, label in enumerate(labels):
            logprobs = plain_logits(model, [*prompt, *label])[len(prompt) - 1 : -1].log_softmax(dim=-1)
            scores[row, column] = float(logprobs[range(len(label)), label].sum())
    return scores


def plain_answer(model: Any, prompt: Sequence[int], tokens: int) -> list[int]:
    """Generate ids greedily by plain forwards."""
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(plain_logits(model, ids)[-1].argmax()))
    return ids[len(prompt) :]


def prompts(shared: int = 60) -> list[list[int]]:
    """Prompts of up to 168 tokens with a shared prefix."""
    draw = random.Random(0)  # noqa: S311 not for secrets
    prefix = [draw.randrange(1, 256) for _ in range(shared)]
    return [prefix + [draw.randrange(1, 256) for _ in range(length)] for length in (5, 168 - shared, 40, 1)]


def require_exact(model: Any, given: list[list[int]]) -> tuple[str | None, str | None]:
    """Compare scores and answers with plain forwards; return the ways that were used."""
    scores = score_labels(model, given, LABELS)
    np.testing.assert_allclose(scores.sum_logprob_NL, plain_scores(model, given, LABELS), atol=EXACT)
    answers = generate(model, given, GenerationSettings(TOKENS))
    assert [answer.ids for answer in answers] == [plain_answer(model, prompt, TOKENS) for prompt in given]
    return scores.fallback, answers[0].fallback


@pytest.mark.parametrize("shared", [0, 60])
@pytest.mark.parametrize("variant", [WINDOW, TYPES], ids=["a window", "types of layers"])
def test_a_window_that_the_model_ignores(variant: Any, shared: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sft"):
        made = require_exact(tiny("llama", **variant), prompts(shared))
    assert all(f"{WITHOUT}it" in str(one) for one in made)
    assert [record.message for record in caplog.records if "sliding window of its config" in record.message] == [
        f"Labels are scored by {made[0]}. Exact", f"Answers are generated {made[1]}. Exact"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "variant"),
    [
        ("qwen2", "a window"), ("mistral", "a window"), ("gemma2", "types of layers"), ("gemma3_text", "a window"),
        ("phi3", "a window"), ("gpt2", "a window"), ("gpt_neox", "a window"), ("opt", "a window"),
        ("bloom", "a window"), ("falcon", "a window"), ("mamba", "a window"), ("jamba", "a window"),
        ("gpt_oss", "types of layers"), ("cohere2", "types of layers"), ("gpt_neo", "as it is"), ("opt", "as it is"),
        ("qwen3_moe", "types of layers"),  # of which its config lacks the window
        ("gemma4_text", "as it is"),  # layers of different shapes
        ("granitemoehybrid", "as it is"),  # a forward that hands `use_cache` on without naming it
    ],
)  # fmt: skip
def test_architectures_of_every_kind(architecture: str, variant: str) -> None:
    require_exact(tiny(architecture, **VARIANTS[variant]), prompts())


def architectures() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name not in _SLOW]


@pytest.mark.long
def test_all_architectures_that_can_be_built() -> None:
    """Return one line for each wrong architecture."""
    wrong, compared = [], 0
    for architecture in architectures():
        for name, variant in VARIANTS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    model = tiny(architecture, **variant)
                    plain_scores(model, prompts()[:1], LABELS[:1])
                except Exception:  # noqa: S112 does not fit these sizes
                    continue
                try:
                    require_exact(model, prompts())
                except Exception as error:
                    wrong.append(f"{architecture}, {name}: {type(error).__name__} {str(error)[:200]}")
            compared += 1
    assert not wrong, "\n".join(wrong)
    assert compared > 250

"""Pre-trains the demo model (Llama form) on encoded documents: one pass, one core, bf16 autocast.

One document per row (packing learned far less in trials), rows bucketed by length, answer tokens weighted, Muon for
matrices and AdamW for the rest. Knows token ids and weights; knows no grammar and no text.

Shapes: B rows, T tokens, V vocabulary, N unpadded targets.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from demo_corpus.tokens import Row


@dataclass(frozen=True)
class Recipe:
    """Settings of the pre-training; the defaults are those of the shipped model."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    intermediate: int = 384
    positions: int = 2048
    tokens_per_batch: int = 2048
    matrix_rate: float = 0.005
    other_rate: float = 0.005
    warmup: float = 0.02
    hold: float = 0.4
    short: int = 120
    short_share: float = 0.25
    answer_weight: float = 8.0


def build_model(recipe: Recipe, vocabulary: int, pad_id: int, end_id: int) -> LlamaForCausalLM:
    """A randomly initialised model; seed torch before."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        max_position_embeddings=recipe.positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end_id,
        pad_token_id=pad_id,
        use_cache=True,
        initializer_range=0.05,
        attn_implementation="eager",  # on one core faster than the fused kernel, by a quarter in a whole step
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = end_id
    model.generation_config.pad_token_id = pad_id
    return model


def batches(rows: list[Row], recipe: Recipe, pad_id: int, rng: Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields ids [B, T] and weights [B, T], rows of like length together, batches in random order.

    The first `short_share` of the batches holds rows of at most `short` tokens only: copying is learned sooner there.
    """
    order = sorted(range(len(rows)), key=lambda index: (len(rows[index].ids), rng.random()))
    groups: list[list[int]] = [[]]
    for index in order:
        if groups[-1] and (len(groups[-1]) + 1) * len(rows[index].ids) > recipe.tokens_per_batch:
            groups.append([])
        groups[-1].append(index)
    rng.shuffle(groups)
    short = [group for group in groups if len(rows[group[-1]].ids) <= recipe.short]
    short = short[: int(recipe.short_share * len(groups))]
    first = {id(group) for group in short}
    for group in short + [group for group in groups if id(group) not in first]:
        longest = max(len(rows[index].ids) for index in group)
        ids_BT = torch.full((len(group), longest), pad_id)
        weights_BT = torch.zeros(len(group), longest)
        for place, index in enumerate(group):
            ids_BT[place, : len(rows[index].ids)] = torch.tensor(rows[index].ids)
            weights_BT[place, : len(rows[index].ids)] = torch.tensor(rows[index].weights)
        yield ids_BT, weights_BT


def weighted_loss(model: LlamaForCausalLM, ids_BT: Tensor, weights_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean cross-entropy, and the plain mean over fully weighted (answer) tokens.

    Padding stands on the right, so that the causal mask alone keeps it out.
    """
    hidden_BTD = model.model(input_ids=ids_BT[:, :-1], use_cache=False).last_hidden_state
    kept = weights_BT[:, 1:] > 0
    logits_NV = model.lm_head(hidden_BTD[kept])
    weights_N = weights_BT[:, 1:][kept]
    losses_N = nn.functional.cross_entropy(logits_NV.float(), ids_BT[:, 1:][kept], reduction="none")
    answers = losses_N.detach()[weights_N > 1]
    return (losses_N * weights_N).sum() / weights_N.sum(), answers.mean() if len(answers) else torch.tensor(0.0)


def optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embedding, norms and biases."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in name)]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe.other_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def pretrain(model: LlamaForCausalLM, rows: list[Row], recipe: Recipe, seed: int) -> dict[str, float]:
    """Trains in place; returns steps, tokens, seconds and the mean losses of the last twentieth."""
    rng = Random(seed)
    plan = list(batches(rows, recipe, int(model.config.pad_token_id), rng))
    stack = optimizers(model, recipe)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in stack]
    start, tokens = time.perf_counter(), 0
    history: list[tuple[float, float]] = []
    model.train()
    for step, (ids_BT, weights_BT) in enumerate(plan):
        progress = step / len(plan)
        factor = min(1.0, (progress + 1e-3) / recipe.warmup) * min(1.0, (1.0 - progress) / (1.0 - recipe.hold))
        for optimizer, rate in zip(stack, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss, answer_loss = weighted_loss(model, ids_BT, weights_BT)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in stack:
            optimizer.step()
        tokens += int((weights_BT > 0).sum())
        history.append((float(loss.detach()), float(answer_loss)))
        if step % 100 == 99:
            recent = history[-100:]
            seconds = time.perf_counter() - start
            means = [sum(pair[i] for pair in recent) / len(recent) for i in (0, 1)]
            print(
                f"step {step + 1}/{len(plan)}  loss {means[0]:.3f}  answer tokens {means[1]:.3f}  "
                f"{tokens / seconds:.0f} tokens/s  {seconds:.0f} s",
                flush=True,
            )
    tail = history[-max(1, len(history) // 20) :]
    return {
        "steps": len(plan),
        "tokens": tokens,
        "seconds": round(time.perf_counter() - start, 1),
        "loss": round(sum(pair[0] for pair in tail) / len(tail), 4),
        "answer_loss": round(sum(pair[1] for pair in tail) / len(tail), 4),
    }

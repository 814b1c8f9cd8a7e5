"""Peers of our training on the same rows: TRL with its defaults and with packing, and bare loops.

Each trains a new model with a LoRA on all linear layers (no dropout) for some epochs on rows of ids. Nothing is
recomputed in the backward pass; all use AdamW with a constant rate.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

BATCH, RATE, CLASSES = 8, 1e-3, 4
END = 2  # of turn
VOCABULARY = 16_384  # a third of the parameters, as in models of half a billion
SUFFIX = 20, 60  # ids of a row after the prefix, including its answer
IGNORED = -100
Ids = list[int]


class Job(NamedTuple):
    """Input of a training: prompts and answers as ids, the number of epochs, and the seed of the order."""

    prompts: list[Ids]
    answers: list[Ids]
    epochs: int
    seed: int

    @property
    def steps(self) -> int:
        return self.epochs * -(-len(self.prompts) // BATCH)


def make_job(prefix: int, rows: int, epochs: int, seed: int, vocabulary: int = VOCABULARY) -> Job:
    """Return rows with a shared prefix. Each row contains its class, which the answer repeats in one to three ids."""
    draw = random.Random(prefix)
    classes = [[draw.randrange(10, vocabulary) for _ in range(1 + kind % 3)] for kind in range(CLASSES)]
    prefix_ids = [draw.randrange(10, vocabulary) for _ in range(prefix)]
    prompts, answers = [], []
    for row in range(rows):
        answer = [*classes[row % CLASSES], END]
        own = [draw.randrange(10, vocabulary) for _ in range(draw.randint(*SUFFIX) - len(answer))]
        own[draw.randrange(len(own))] = answer[0]
        prompts.append(prefix_ids + own)
        answers.append(answer)
    return Job(prompts, answers, epochs, seed)


def adapted(vocabulary: int = 0) -> Any:
    """Return the model of the benchmarks with a new adapter, or a narrow model with a large vocabulary."""
    from peft import LoraConfig, get_peft_model

    base = _llama(vocabulary, 256, 4) if vocabulary else _llama(VOCABULARY, 384, 7)
    torch.manual_seed(1)
    return get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))


def _llama(vocabulary: int, hidden: int, layers: int) -> Any:
    """Return a model with random weights, always the same."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": hidden, "intermediate_size": 8 * hidden // 3, "num_attention_heads": hidden // 64}
    ends = {"bos_token_id": None, "eos_token_id": END, "pad_token_id": 0}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=vocabulary, num_hidden_layers=layers, tie_word_embeddings=True, **shape, **ends)
    )


def ours(model: Any, job: Job) -> None:
    """Train with `sft.training.train`, like the commands."""
    from sft.config.sections.training import TrainingConfig
    from sft.training import TrainingRow, TrainRequest, train

    rows = [TrainingRow(*pair) for pair in zip(job.prompts, job.answers, strict=True)]
    arguments = {**_arguments(job), "lr_scheduler_type": "constant"}
    del arguments["seed"]
    with tempfile.TemporaryDirectory() as folder:
        train(TrainRequest(model, _tokenizer(), rows, TrainingConfig(trainer_args=arguments), Path(folder), job.seed))


def trl(model: Any, job: Job, **arguments: Any) -> None:
    """Train with TRL on the same ids and its defaults (including bfloat16), except for recomputing activations."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = zip(job.prompts, job.answers, strict=True)
    columns: dict[str, list[Any]] = {"input_ids": [], "completion_mask": []}
    for prompt, answer in rows:
        columns["input_ids"].append(prompt + answer)
        columns["completion_mask"].append([0] * len(prompt) + [1] * len(answer))
    longest = max(map(len, columns["input_ids"]))
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, use_cpu=True, activation_checkpointing=False, report_to="none", disable_tqdm=True,
            save_strategy="no", lr_scheduler_type="constant", max_length=2 * longest, completion_only_loss=True,
            **_arguments(job), **arguments,
        )  # fmt: skip
        dataset = Dataset.from_dict(columns)
        SFTTrainer(model, args=config, train_dataset=dataset, processing_class=_tokenizer()).train()


def trl_fp32(model: Any, job: Job) -> None:
    """Train with TRL without mixed precision."""
    trl(model, job, bf16=False)


def trl_packing(model: Any, job: Job) -> None:
    """Train with TRL and several rows in a sequence, in fp32, so with fewer steps over the same rows."""
    trl(model, job, bf16=False, packing=True)


def bare_loop(model: Any, job: Job) -> None:
    """Train with a loop as in a tutorial: shuffled, padded batches, `model(labels=…)`."""
    optimiser, order = _optimiser(model), _shuffled(job)
    for batch in order:
        ids_BT, mask_BT, predictors_BT = _padded(job, batch)
        labels_BT = ids_BT.where(predictors_BT.roll(1, dims=1), torch.tensor(IGNORED))
        model(input_ids=ids_BT, attention_mask=mask_BT, labels=labels_BT, use_cache=False).loss.backward()
        _step(model, optimiser)


def sorted_loop(model: Any, job: Job) -> None:
    """Train on rows sorted by length before batching, with logits only for answers."""
    optimiser = _optimiser(model)
    for batch in _sorted(job):
        padded_loss(model, job, batch).backward()
        _step(model, optimiser)


def answers_only(model: Any, job: Job) -> None:
    """Train on shuffled rows with logits only for answers, like TRL's kernels for a GPU."""
    optimiser = _optimiser(model)
    for batch in _shuffled(job):
        padded_loss(model, job, batch).backward()
        _step(model, optimiser)


def padded_loss(model: Any, job: Job, batch: list[int]) -> torch.Tensor:
    """Return the mean loss of the answers of a padded batch."""
    ids_BT, mask_BT, predictors_BT = _padded(job, batch)
    logits_MV = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False, logits_to_keep=predictors_BT).logits
    return cross_entropy(logits_MV.flatten(0, -2), ids_BT.roll(-1, dims=1)[predictors_BT])


@torch.no_grad()
def final_loss(model: Any, job: Job) -> float:
    """Return the mean loss of all answers."""
    model.eval()
    losses = [float(padded_loss(model, job, batch)) * len(batch) for batch in _sorted(job)]
    return sum(losses) / len(job.prompts)


def _padded(job: Job, batch: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, attention mask, and a mask of the positions whose next id is a target, each [B, T]."""
    ids = [torch.tensor(job.prompts[row] + job.answers[row]) for row in batch]
    ids_BT = pad_sequence(ids, batch_first=True)
    predictors_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
    for index, row in enumerate(batch):
        predictors_BT[index, len(job.prompts[row]) - 1 : len(ids[index]) - 1] = True
    return ids_BT, pad_sequence([torch.ones_like(row) for row in ids], batch_first=True), predictors_BT


def _shuffled(job: Job) -> Iterator[list[int]]:
    draw, rows = random.Random(job.seed), list(range(len(job.prompts)))
    for _ in range(job.epochs):
        draw.shuffle(rows)
        yield from (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


def _sorted(job: Job) -> Iterator[list[int]]:
    draw, rows = random.Random(job.seed), sorted(range(len(job.prompts)), key=lambda row: len(job.prompts[row]))
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    for _ in range(job.epochs):
        draw.shuffle(batches)
        yield from batches


def _optimiser(model: Any) -> torch.optim.Optimizer:
    model.train()
    return torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], RATE, weight_decay=0.0)


def _step(model: Any, optimiser: torch.optim.Optimizer) -> None:
    torch.nn.utils.clip_grad_norm_([value for value in model.parameters() if value.requires_grad], 1.0)
    optimiser.step()
    optimiser.zero_grad()


def _arguments(job: Job) -> dict[str, Any]:
    """Return the arguments of all trainers."""
    return {
        "num_train_epochs": job.epochs, "per_device_train_batch_size": BATCH, "learning_rate": RATE, "seed": job.seed,
        "weight_decay": 0.0,
    }  # fmt: skip


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Path(__file__).resolve().parents[2] / "etc" / "demo" / "model")

"""What trains beside us on the same rows: TRL as it is and with packing, a bare loop, a loop with a smaller head.

Each is given a fresh model with a LoRA on all linear layers (no dropout), and trains it for some epochs on rows of ids.
Nothing is recomputed in the backward pass; all use AdamW with a constant rate.
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
SUFFIX = 20, 60  # ids of a row's own, its answer included
IGNORED = -100
Ids = list[int]


class Job(NamedTuple):
    """What is trained on: prompts and answers as ids, so many epochs, in the order of a seed."""

    prompts: list[Ids]
    answers: list[Ids]
    epochs: int
    seed: int

    @property
    def steps(self) -> int:
        return self.epochs * -(-len(self.prompts) // BATCH)


def make_job(prefix: int, rows: int, epochs: int, seed: int, vocabulary: int = VOCABULARY) -> Job:
    """Rows that begin alike; each names its class somewhere, the answer repeats it in one to three ids."""
    draw = random.Random(prefix)
    classes = [[draw.randrange(10, vocabulary) for _ in range(1 + kind % 3)] for kind in range(CLASSES)]
    beginning = [draw.randrange(10, vocabulary) for _ in range(prefix)]
    prompts, answers = [], []
    for row in range(rows):
        answer = [*classes[row % CLASSES], END]
        own = [draw.randrange(10, vocabulary) for _ in range(draw.randint(*SUFFIX) - len(answer))]
        own[draw.randrange(len(own))] = answer[0]
        prompts.append(beginning + own)
        answers.append(answer)
    return Job(prompts, answers, epochs, seed)


def adapted(vocabulary: int = 0) -> Any:
    """The model of the benches with a fresh adapter; or a narrow one with a large vocabulary."""
    from peft import LoraConfig, get_peft_model

    base = _llama(vocabulary, 256, 4) if vocabulary else _llama(VOCABULARY, 384, 7)
    torch.manual_seed(1)
    return get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))


def _llama(vocabulary: int, hidden: int, layers: int) -> Any:
    """Random weights, the same every time."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": hidden, "intermediate_size": 8 * hidden // 3, "num_attention_heads": hidden // 64}
    ends = {"bos_token_id": None, "eos_token_id": END, "pad_token_id": 0}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=vocabulary, num_hidden_layers=layers, tie_word_embeddings=True, **shape, **ends)
    )


def ours(model: Any, job: Job) -> None:
    """As the commands train, by `sft.training.train`."""
    from sft.config.sections.training import TrainingConfig
    from sft.training import TrainingRow, TrainRequest, train

    rows = [TrainingRow(*pair) for pair in zip(job.prompts, job.answers, strict=True)]
    given = {**_arguments(job), "lr_scheduler_type": "constant"}
    del given["seed"]
    with tempfile.TemporaryDirectory() as folder:
        train(TrainRequest(model, _tokenizer(), rows, TrainingConfig(trainer_args=given), Path(folder), job.seed))


def trl(model: Any, job: Job, **arguments: Any) -> None:
    """TRL's trainer on the same ids, with its own defaults (bfloat16 among them) but for recomputing activations."""
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
    """TRL without its mixed precision."""
    trl(model, job, bf16=False)


def trl_packing(model: Any, job: Job) -> None:
    """TRL with several rows in a sequence, in fp32: fewer steps over the same rows."""
    trl(model, job, bf16=False, packing=True)


def bare_loop(model: Any, job: Job) -> None:
    """A loop as in a tutorial: shuffled, padded batches, `model(labels=…)`."""
    optimiser, order = _optimiser(model), _shuffled(job)
    for batch in order:
        ids_BT, seen_BT, reads_BT = _padded(job, batch)
        labels_BT = ids_BT.where(reads_BT.roll(1, dims=1), torch.tensor(IGNORED))
        model(input_ids=ids_BT, attention_mask=seen_BT, labels=labels_BT, use_cache=False).loss.backward()
        _step(model, optimiser)


def sorted_loop(model: Any, job: Job) -> None:
    """Rows sorted by length before they are cut into batches; the head on what predicts answers."""
    optimiser = _optimiser(model)
    for batch in _sorted(job):
        padded_loss(model, job, batch).backward()
        _step(model, optimiser)


def answers_only(model: Any, job: Job) -> None:
    """The head on what predicts answers, rows in any order: what TRL's kernels for a GPU do with the head."""
    optimiser = _optimiser(model)
    for batch in _shuffled(job):
        padded_loss(model, job, batch).backward()
        _step(model, optimiser)


def padded_loss(model: Any, job: Job, batch: list[int]) -> torch.Tensor:
    """Mean loss of the answers of a padded batch."""
    ids_BT, seen_BT, reads_BT = _padded(job, batch)
    logits_MV = model(input_ids=ids_BT, attention_mask=seen_BT, use_cache=False, logits_to_keep=reads_BT).logits
    return cross_entropy(logits_MV.flatten(0, -2), ids_BT.roll(-1, dims=1)[reads_BT])


@torch.no_grad()
def final_loss(model: Any, job: Job) -> float:
    """Mean loss of all answers."""
    model.eval()
    losses = [float(padded_loss(model, job, batch)) * len(batch) for batch in _sorted(job)]
    return sum(losses) / len(job.prompts)


def _padded(job: Job, batch: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, mask, and where the next id is to be learnt, each [B, T]."""
    ids = [torch.tensor(job.prompts[row] + job.answers[row]) for row in batch]
    ids_BT = pad_sequence(ids, batch_first=True)
    reads_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
    for place, row in enumerate(batch):
        reads_BT[place, len(job.prompts[row]) - 1 : len(ids[place]) - 1] = True
    return ids_BT, pad_sequence([torch.ones_like(row) for row in ids], batch_first=True), reads_BT


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
    """What all trainers are told."""
    return {
        "num_train_epochs": job.epochs, "per_device_train_batch_size": BATCH, "learning_rate": RATE, "seed": job.seed,
        "weight_decay": 0.0,
    }  # fmt: skip


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Path(__file__).resolve().parents[2] / "etc" / "demo" / "model")

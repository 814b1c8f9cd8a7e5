"""Shared fixtures: a byte-level tokenizer and tiny random models, built in code; no network."""

from __future__ import annotations

import gc
import os
import signal
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads are slower for small models and parallel tests

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_tokenizer(chat_template: str | None = CHATML, specials: tuple[str, ...] = SPECIAL_TOKENS) -> Any:
    """A tokenizer with one token per byte and the given special tokens; eos is `<|im_end|>`, pad `<|endoftext|>`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(specials))
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, **{name: token for name, token in named.items() if token in specials}
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def tiny_model(family: str = "llama", vocabulary: int = 300, seed: int = 0, **overrides: Any) -> Any:
    """A random fp32 causal model of two small layers, in eval mode: llama, qwen2, gpt2, gemma or mistral."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    common = {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 2048,
        "bos_token_id": None, "eos_token_id": 258, "pad_token_id": None,
    }  # fmt: skip
    if family == "gpt2":
        common = {
            "vocab_size": vocabulary, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048,
            "bos_token_id": None, "eos_token_id": 258,
        }  # fmt: skip
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **{**common, **overrides})
    return AutoModelForCausalLM.from_config(config).eval()


# What an example takes depends on what else the machine does.
settings.register_profile("sft", deadline=None)
settings.load_profile("sft")


def pytest_configure() -> None:
    """Hear what a terminal sends, here and in all that is started, though nohup or a shell's `&` had it ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Begun first, so that no worker is left with one of them at the end.
LONGEST = (
    "test_docs.py", "test_faults.py", "test_isolation.py", "test_wrong_configs.py", "test_kill.py",
    "test_run.py", "test_errors.py", "test_template.py", "test_resuming.py", "test_secrets.py", "test_stop.py",
    "test_launcher.py", "test_browser.py", "test_timeouts.py", "test_no_flock.py", "test_best.py", "test_pipeline.py",
    "test_payloads.py", "test_together.py", "test_reproducing.py", "test_sft.py", "test_demo.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; in all else the order stays."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


MANY_IMPORTS = 50


class Frozen:
    """Number of imported modules when the garbage collector last froze the existing objects.

    The libraries leave millions of objects that live as long as the process. Each collection visits them all, and a
    trainer collects at the start of every training: that took half of the time of a short training.
    """

    modules = 0


@pytest.fixture(autouse=True)
def collections_skip_the_libraries() -> None:
    """Freeze the objects of the libraries once a test has imported them."""
    if len(sys.modules) > Frozen.modules + MANY_IMPORTS:
        Frozen.modules = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def no_secret_known() -> None:
    """Secrets that one test has shown are ordinary text to the next."""
    from sft.secrets.known import known

    known.clear()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The byte-level tokenizer with a ChatML template."""
    return byte_tokenizer()


@pytest.fixture
def make_tokenizer() -> Callable[..., Any]:
    """Build a byte-level tokenizer: `make_tokenizer(chat_template, specials)`."""
    return byte_tokenizer


@pytest.fixture
def make_model() -> Callable[..., Any]:
    """Build a tiny random model: `make_model("qwen2", seed=1)`."""
    return tiny_model


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with its tokenizer, saved where `from_pretrained` finds it."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model("qwen2").save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three labels that depend on the text: train, validation and test as CSV."""
    folder = tmp_path_factory.mktemp("data")
    words = {"bad": "awful", "fine": "plain", "good": "lovely"}
    for split, size in (("train", 12), ("validation", 6), ("test", 9)):
        rows = [
            f"{split} {n} {words[label]},{label}"
            for n, label in zip(range(size), ["bad", "fine", "good"] * 4, strict=False)
        ]
        (folder / f"{split}.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def make_config(model_folder: Path, data_folder: Path) -> Callable[..., dict[str, Any]]:
    """A whole config on the tiny model and data; `section__key=value` changes it, a value of None removes the key."""

    def build(**changes: Any) -> dict[str, Any]:
        config: dict[str, Any] = {
            "dataset": {"path": str(data_folder), "task_type": "classification", "shots": 2},
            "model": {"name": str(model_folder)},
            "lora": {"r": 2, "target_modules": "all-linear"},
            "prompting": {"instruction": "How is it?", "input_columns": ["text"], "output_column": "label"},
            "training": {"trainer_args": {"max_steps": 2, "per_device_train_batch_size": 2}},
            "inference": {"max_seq_length": 256},
        }
        for key, value in changes.items():
            section, _, field = key.partition("__")
            target, name = (config[section], field) if field else (config, section)
            if value is None:
                target.pop(name)
            else:
                target[name] = value
        return config

    return build

"""The harness computes the same values as plain forwards, and does not change the model."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.sections.lm_eval import LmEvalConfig
from sft.errors import UserError
from sft.harness.run import evaluate_tasks
from sft.harness.tasks import open_tasks
from sft.log import silent
from sft.model.resident import Fingerprint

from .conftest import ROWS

pytest.importorskip("lm_eval")
WriteTask = Callable[..., str]


def metrics_of(model: Any, tokenizer: Any, *tasks: str, **settings: Any) -> dict[str, Any]:
    return evaluate_tasks(model, tokenizer, open_tasks(LmEvalConfig(tasks=tasks, **settings)), silent)


def log_likelihood(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    """Return log p of the continuation's tokens, from one forward over the whole text."""
    import torch

    before = tokenizer.encode(context, add_special_tokens=False)
    ids = tokenizer.encode(context + continuation, add_special_tokens=False)
    with torch.no_grad():
        logprobs_SV = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logprobs_SV[index - 1, ids[index]]) for index in range(len(before), len(ids)))


def accuracies(model: Any, tokenizer: Any) -> tuple[float, float]:
    """Return acc and acc_norm: accuracy of the likeliest option, and of the likeliest per character."""
    correct, correct_by_length = 0, 0
    for row in ROWS:
        options = row["options"]
        scores = [log_likelihood(model, tokenizer, row["q"], f" {option}") for option in options]
        correct += scores.index(max(scores)) == row["gold"]
        normed = [score / len(option) for score, option in zip(scores, options, strict=True)]
        correct_by_length += normed.index(max(normed)) == row["gold"]
    return correct / len(ROWS), correct_by_length / len(ROWS)


def adapted(model: Any, **settings: Any) -> Any:
    """Add a LoRA that changes the output."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=4, init_lora_weights=False, lora_alpha=32, **settings)
    trained = get_peft_model(model, config).eval()
    for name, parameter in trained.named_parameters():
        if "modules_to_save" in name:
            parameter.data.add_(torch.randn_like(parameter))
    return trained


def test_changed_rows_with_the_same_time_stamp_are_read_again(write_task: WriteTask, tmp_path: Path) -> None:
    config = LmEvalConfig(tasks=(write_task(),))
    rows = tmp_path / "tasks" / "rows.jsonl"
    stat = rows.stat()
    (before,) = open_tasks(config).loaded["tasks"].values()
    assert before.dataset["test"][0]["q"] == "The sky is"
    rows.write_text(rows.read_text().replace("The sky", "The sea"))
    os.utime(rows, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (after,) = open_tasks(config).loaded["tasks"].values()
    assert after.dataset["test"][0]["q"] == "The sea is"


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")  # from PEFT, for the last case
@pytest.mark.parametrize(
    ("tied", "trained"),
    [
        (False, {}),
        (False, {"target_modules": "all-linear"}),
        # tying the weights, as the harness does for models that it loads, would undo the training
        (True, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    ],
)
def test_accuracy_follows_from_the_log_likelihoods(
    write_task: WriteTask, make_model: Any, make_tokenizer: Any, tied: bool, trained: dict[str, Any]
) -> None:
    import torch

    tokenizer = make_tokenizer(specials=("<|im_start|>", "<|im_end|>"))  # without a padding token
    model = make_model("qwen2", seed=3, tie_word_embeddings=tied)
    before = accuracies(model, tokenizer)
    if trained:
        model = adapted(model, **trained)
        assert accuracies(model, tokenizer) != before, "the adapter must change the metrics"
    fingerprint, settings = Fingerprint.of(model), str(tokenizer)
    acc, acc_norm = accuracies(model, tokenizer)
    before_log_p = log_likelihood(model, tokenizer, "It is", " so")
    task = write_task()
    metrics = {size: metrics_of(model, tokenizer, task, batch_size=size)["mine_choice"] for size in (1, 8)}
    assert (metrics[8]["acc"], metrics[8]["acc_norm"]) == (pytest.approx(acc), pytest.approx(acc_norm))
    assert metrics[8] == metrics[1]
    assert metrics[8]["acc_stderr"] == pytest.approx(math.sqrt(acc * (1 - acc) / (len(ROWS) - 1)))
    assert (metrics[8]["n"], metrics[8]["num_fewshot"], metrics[8]["version"]) == (7, 0, 2.0)
    assert metrics[8]["higher_is_better"] == {"acc": True, "acc_norm": True}
    assert Fingerprint.of(model).differs_from(fingerprint) == ""
    assert log_likelihood(model, tokenizer, "It is", " so") == before_log_p
    assert not model.training
    assert str(tokenizer) == settings
    assert torch.is_grad_enabled()


def test_examples_equal_those_of_the_harness_in_any_random_state(
    write_task: WriteTask, make_model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = write_task(fewshot_split="train", metric_list=[{"metric": "brier_score"}])
    model = make_model()
    metrics = []
    for seed in (1, 2):
        random.seed(seed)
        metrics.append(metrics_of(model, tokenizer, task, num_fewshot=2)["mine_choice"])
    assert metrics[0] == metrics[1]
    assert metrics[0]["num_fewshot"] == 2
    assert metrics[0]["brier_score"] != metrics_of(model, tokenizer, task)["mine_choice"]["brier_score"]
    monkeypatch.chdir(Path(task).parent)
    assert metrics[0]["brier_score"] == pytest.approx(harness_alone(model, tokenizer, task), rel=1e-6)


def harness_alone(model: Any, tokenizer: Any, task: str) -> float:
    """Return the Brier score with two examples from the package's command line."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    loaded = TaskManager(include_defaults=False).load([task])
    loaded["tasks"]["mine_choice"].set_config(key="num_fewshot", value=2)
    loaded["tasks"]["mine_choice"].set_fewshot_seed(seed=1234)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
    results = evaluate(lm=lm, task_dict=loaded, log_samples=False, bootstrap_iters=0)
    return float(results["results"]["mine_choice"]["brier_score,none"])


def test_a_task_with_zero_examples_gets_none(write_task: WriteTask, make_model: Any, tokenizer: Any) -> None:
    task = write_task(num_fewshot=0, fewshot_split="train")
    assert metrics_of(make_model(), tokenizer, task, num_fewshot=2)["mine_choice"]["num_fewshot"] == 0


@pytest.mark.parametrize(("limit", "rows"), [(3, 3), (0.5, 4), (100, 7)])
def test_limit_keeps_the_first_rows(
    write_task: WriteTask, make_model: Any, tokenizer: Any, limit: float, rows: int
) -> None:
    assert metrics_of(make_model(), tokenizer, write_task(), limit=limit)["mine_choice"]["n"] == rows


def test_generation_and_rolling_log_likelihoods(
    write_task: WriteTask, make_model: Any, tokenizer: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    model = make_model(seed=1)
    ids = tokenizer(ROWS[0]["q"], return_tensors="pt", add_special_tokens=False).input_ids
    with torch.no_grad():
        written = model.generate(input_ids=ids, max_new_tokens=6, do_sample=False, pad_token_id=256)[0, ids.shape[1] :]
    text = tokenizer.decode(written, skip_special_tokens=True)
    metric = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    generation = write_task(
        "written.yaml", task="mine_written", output_type="generate_until", doc_to_choice=None, metric_list=[metric],
        doc_to_target=text, generation_kwargs={"until": ["<|im_end|>"], "max_gen_toks": 6, "do_sample": False},
    )  # fmt: skip
    reading = write_task(
        "read.yaml", task="mine_read", output_type="loglikelihood_rolling", doc_to_choice=None, doc_to_text="",
        doc_to_target="{{q}}", metric_list=[{"metric": "bits_per_byte"}],
    )  # fmt: skip
    reports: list[tuple[str, int, int]] = []
    tasks = open_tasks(LmEvalConfig(tasks=(generation, reading)))
    metrics = evaluate_tasks(model, tokenizer, tasks, lambda *step: reports.append(step[:3]))
    assert metrics["mine_written"]["exact_match"] >= 1 / 7
    assert "exact_match_stderr" not in metrics["mine_written"], "the harness would start processes for the other task"
    end = tokenizer.eos_token
    nats = -sum(log_likelihood(model, tokenizer, end, row["q"]) for row in ROWS)
    assert metrics["mine_read"]["bits_per_byte"] == pytest.approx(
        nats / math.log(2) / sum(len(row["q"].encode()) for row in ROWS), rel=1e-5
    )
    assert metrics["mine_read"]["higher_is_better"] == {"bits_per_byte": False}
    assert {phase for phase, _, _ in reports} == {"lm-eval"}
    assert reports[-1][1:] == (14, 14)
    assert capfd.readouterr() == ("", "")


def test_an_unsupported_task_is_a_one_line_error(write_task: WriteTask, make_model: Any, tokenizer: Any) -> None:
    metric = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    task = write_task(
        output_type="generate_until", doc_to_choice=None, metric_list=[metric],
        generation_kwargs={"until": ["x"], "max_gen_toks": 5000},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"evaluation\.lm_eval: lm-eval cannot evaluate the model: .*5000.*2048"):
        metrics_of(make_model(), tokenizer, task)


def test_a_group_with_its_own_metrics_replaces_its_tasks(
    write_task: WriteTask, make_model: Any, tokenizer: Any
) -> None:
    write_task("one.yaml", task="mine_one")
    write_task("two.yaml", task="mine_two", process_docs=None)
    sums = [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}]
    nothing = dict.fromkeys(
        ("dataset_path", "dataset_kwargs", "test_split", "output_type", "doc_to_text", "doc_to_choice", "doc_to_target")
    )
    both = write_task(
        "both.yaml", **nothing, group="mine_both", task=["mine_one", "mine_two"], metric_list=None,
        aggregate_metric_list=sums,
    )  # fmt: skip
    metrics = metrics_of(make_model(), tokenizer, both)
    assert list(metrics) == ["mine_both"]
    assert metrics["mine_both"]["n"] == 14
    each = write_task("each.yaml", **nothing, group="mine_each", task=["mine_one", "mine_two"], metric_list=None)
    parts = metrics_of(make_model(), tokenizer, each)
    assert list(parts) == ["mine_one", "mine_two"]
    assert parts["mine_one"]["acc"] == pytest.approx(metrics["mine_both"]["acc"])


def test_an_encoder_decoder_model_is_evaluated_too(write_task: WriteTask, make_tokenizer: Any) -> None:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=300, d_model=32, d_ff=64, num_layers=2, num_heads=4, d_kv=8, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=258,
    )  # fmt: skip
    model, tokenizer = T5ForConditionalGeneration(config).eval(), make_tokenizer(chat_template=None)
    correct = 0
    for row in ROWS:
        scores = []
        for option in row["options"]:
            read, written = (tokenizer(text, return_tensors="pt").input_ids for text in (row["q"], f" {option}"))
            with torch.no_grad():
                logprobs_SV = model(input_ids=read, labels=written).logits[0].log_softmax(-1)
            scores.append(float(logprobs_SV.gather(1, written[0][:, None]).sum()))
        correct += scores.index(max(scores)) == row["gold"]
    assert metrics_of(model, tokenizer, write_task())["mine_choice"]["acc"] == pytest.approx(correct / len(ROWS))

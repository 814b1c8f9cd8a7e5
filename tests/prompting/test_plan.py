"""Which examples go with which row: pools, held-out rows, counts, and what the model is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.schema import ExperimentConfig
from sft.dataset.task import open_task
from sft.errors import DataError
from sft.prompting.plan import PromptPlan

MakeConfig = Callable[..., dict[str, Any]]


def make_plan(config: dict[str, Any], tokenizer: Any, seed: int = 13, context: int | None = 1000) -> PromptPlan:
    experiment = Experiment("x", ExperimentConfig.model_validate(config), seed)
    return PromptPlan(experiment, open_task(experiment), tokenizer, context)


def test_without_examples_the_shots_are_trained_on(make_config: MakeConfig, tokenizer: Any) -> None:
    trained = make_plan(make_config(), tokenizer).training()
    assert len(trained.prompts) == 6
    assert trained.held_out == 0
    assert all(prompt.completion_ids[-1] == tokenizer.eos_token_id for prompt in trained.prompts)
    answers = Counter(tokenizer.decode(prompt.completion_ids[:-1]) for prompt in trained.prompts)
    assert answers == {"bad": 2, "fine": 2, "good": 2}


def test_fixed_examples_are_held_out_of_training(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=3, training__icl_examples=1)
    trained = make_plan(config, tokenizer).training()
    assert len(trained.prompts) == 6
    assert trained.held_out == 3
    (shown,) = set(trained.shown)
    assert not set(shown) & set(trained.rows)


def test_examples_drawn_per_row_never_hold_the_row(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=3, training__icl_examples=2, training__random_icl=True)
    trained = make_plan(config, tokenizer).training()
    assert len(trained.prompts) == 9
    assert {len(shown) for shown in trained.shown} == {6}
    assert all(row not in shown for row, shown in zip(trained.rows, trained.shown, strict=True))
    assert len(set(trained.shown)) > 1


def test_too_few_shots_for_examples_is_an_error(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=1, training__icl_examples=1, training__random_icl=True)
    with pytest.raises(DataError, match=r"training\.icl_examples"):
        make_plan(config, tokenizer).training()


def test_judged_rows_share_fixed_examples_of_the_shots(make_config: MakeConfig, tokenizer: Any) -> None:
    plan = make_plan(make_config(inference={"icl_examples": 1}), tokenizer)
    judged = plan.judged("test")
    (shown,) = set(judged.shown)
    assert len(shown) == 3
    assert set(shown) <= set(plan.training().rows)
    first, second = (prompt.ids for prompt in judged.prompts[:2])
    shared = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert shared > 100  # the examples stand before the row, so the prefix is common


def test_the_pool_is_train_without_shots(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=0, inference={"icl_examples": 4})
    (shown,) = set(make_plan(config, tokenizer).judged("test").shown)
    assert sorted(shown) == list(range(12))


def test_another_seed_draws_other_examples(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=0, inference={"icl_examples": 1})
    drawn = {make_plan(config, tokenizer, seed).judged("test").shown[0] for seed in range(6)}
    assert len(drawn) > 1


def test_rounds_that_do_not_fit_are_left_out_for_all_rows(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=0, inference={"icl_examples": 4, "max_seq_length": 400})
    judged = make_plan(config, tokenizer).judged("test")
    (shown,) = set(judged.shown)
    assert len(shown) in (3, 6, 9)
    assert all(len(p.prompt.ids) + max(map(len, p.label_ids)) <= 400 for p in judged.labelled)


def test_the_trainers_max_length_shortens_prompts_not_answers(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(training__trainer_args={"max_length": 55})
    trained = make_plan(config, tokenizer).training()
    assert max(len(p.ids) + len(p.completion_ids) for p in trained.prompts) <= 55
    assert any(p.cut_tokens for p in trained.prompts)
    assert all(p.completion_ids[-1] == tokenizer.eos_token_id for p in trained.prompts)

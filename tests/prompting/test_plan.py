"""The prompts of a run: pools, held-out rows, counts, and questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.experiment import Experiment
from sft.config.sections.schema import ExperimentConfig
from sft.dataset.task import open_task
from sft.errors import DataError
from sft.prompting.plan import PromptPlan
from sft.prompting.render import Prompt
from sft.prompting.view import kept_row

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


def test_examples_drawn_per_row_never_include_the_row(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(
        dataset__shots=3, training__icl_examples=2, training__random_icl=True, inference={"max_seq_length": 900}
    )
    trained = make_plan(config, tokenizer).training()
    assert len(trained.prompts) == 9
    assert {len(shown) for shown in trained.shown} == {6}
    assert all(row not in shown for row, shown in zip(trained.rows, trained.shown, strict=True))
    assert len(set(trained.shown)) > 1


def test_too_few_shots_for_examples_is_an_error(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=1, training__icl_examples=1, training__random_icl=True)
    with pytest.raises(DataError, match=r"training\.icl_examples"):
        make_plan(config, tokenizer).training()


def test_evaluated_rows_share_fixed_examples_of_the_shots(make_config: MakeConfig, tokenizer: Any) -> None:
    plan = make_plan(make_config(inference={"icl_examples": 1}), tokenizer)
    evaluated = plan.evaluated("test")
    (shown,) = set(evaluated.shown)
    assert len(shown) == 3
    assert set(shown) <= set(plan.training().rows)
    first, second = (prompt.ids for prompt in evaluated.prompts[:2])
    shared = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert shared > 100  # the examples precede the row, so the prefix is shared


def test_the_pool_is_train_without_shots(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=0, inference={"icl_examples": 4})
    (shown,) = set(make_plan(config, tokenizer).evaluated("test").shown)
    assert sorted(shown) == list(range(12))


def test_another_seed_draws_other_examples(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=0, inference={"icl_examples": 1})
    drawn = {make_plan(config, tokenizer, seed).evaluated("test").shown[0] for seed in range(6)}
    assert len(drawn) > 1


def test_rounds_that_do_not_fit_are_dropped_for_all_rows(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(dataset__shots=0, inference={"icl_examples": 4, "max_seq_length": 400})
    evaluated = make_plan(config, tokenizer).evaluated("test")
    (shown,) = set(evaluated.shown)
    assert len(shown) in (3, 6, 9)
    assert {prompt.dropped_examples for prompt in evaluated.prompts} == {12 - len(shown)}
    assert all(len(p.prompt.ids) + max(map(len, p.label_ids)) <= 400 for p in evaluated.labelled)


def test_the_trainers_max_length_shortens_prompts_not_answers(make_config: MakeConfig, tokenizer: Any) -> None:
    config = make_config(training__trainer_args={"max_length": 55})
    trained = make_plan(config, tokenizer).training()
    assert max(len(p.ids) + len(p.completion_ids) for p in trained.prompts) <= 55
    assert any(p.cut_tokens for p in trained.prompts)
    assert all(p.completion_ids[-1] == tokenizer.eos_token_id for p in trained.prompts)


def examples_in(prompt: Prompt) -> int:
    """Count the examples in a prompt, in the prompt itself."""
    return sum(span.kind == "example_answer" for span in prompt.spans)


@pytest.mark.parametrize("random_icl", [False, True])
def test_only_examples_in_the_prompt_are_listed_as_shown(
    make_config: MakeConfig, tokenizer: Any, random_icl: bool
) -> None:
    inference = {"icl_examples": 2, "icl_pool": "train", "random_icl": random_icl, "max_seq_length": 240}
    evaluated = make_plan(make_config(dataset__shots=0, inference=inference), tokenizer).evaluated("test")
    for prompt, shown in zip(evaluated.prompts, evaluated.shown, strict=True):
        assert len(shown) == examples_in(prompt) == 3
        assert prompt.dropped_examples == 3


@pytest.mark.parametrize("random_icl", [False, True])
@pytest.mark.parametrize("chosen", ["random", "balanced", "nearest"])
def test_examples_are_chosen_as_configured(
    make_config: MakeConfig, tokenizer: Any, chosen: str, random_icl: bool
) -> None:
    inference = {"icl_examples": 1, "icl_selection": chosen, "random_icl": random_icl, "max_seq_length": 900}
    config = make_config(dataset__shots=0, inference=inference)
    evaluated = make_plan(config, tokenizer).evaluated("test")
    assert {len(shown) for shown in evaluated.shown} == {3}
    assert (len(set(evaluated.shown)) > 1) == (random_icl or chosen == "nearest")
    labels = [{row % 3 for row in shown} for shown in evaluated.shown]
    if chosen == "balanced":
        assert labels == [{0, 1, 2}] * 9
    elif chosen == "nearest":  # the texts share a word with those of their label
        assert labels == [{row % 3} for row in range(9)]
    else:
        seeds = (make_plan(config, tokenizer, seed).evaluated("test").shown[0] for seed in range(6))
        assert {0, 1, 2} not in labels or any({row % 3 for row in shown} != {0, 1, 2} for shown in seeds)


def test_default_examples_are_frozen(make_config: MakeConfig, tokenizer: Any) -> None:
    for task_type, usual in (("classification", "balanced"), ("generation", "random"), ("generation", "balanced")):
        for random_icl in (False, True):
            shown = [
                make_plan(
                    make_config(
                        dataset__shots=0,
                        dataset__task_type=task_type,
                        inference={"icl_examples": 2, "random_icl": random_icl, **selection},
                    ),
                    tokenizer,
                )
                .evaluated("test")
                .shown
                for selection in ({}, {"icl_selection": usual})
            ]
            assert shown[0] == shown[1]
            assert shown[0][:2] == FROZEN[task_type, random_icl]


FROZEN = {
    ("classification", False): ((3, 8, 10, 7, 9, 11), (3, 8, 10, 7, 9, 11)),
    ("classification", True): ((6, 7, 11, 9, 4, 8), (5, 7, 6, 8, 0, 4)),
    ("generation", False): ((1, 10), (1, 10)),
    ("generation", True): ((5, 2), (1, 5)),
}


def test_the_least_similar_examples_are_dropped_first(make_config: MakeConfig, tokenizer: Any) -> None:
    inference = {"icl_examples": 2, "icl_selection": "nearest"}
    whole = make_plan(make_config(dataset__shots=0, inference=inference), tokenizer).evaluated("test")
    inference = {**inference, "max_seq_length": 220}
    cut = make_plan(make_config(dataset__shots=0, inference=inference), tokenizer).evaluated("test")
    for row, (prompt, shown, full) in enumerate(zip(cut.prompts, cut.shown, whole.shown, strict=True)):
        assert 0 < len(shown) == examples_in(prompt) < len(full) == 6
        assert shown == full[-len(shown) :]
        assert prompt.dropped_examples == 6 - len(shown)
        assert {index % 3 for index in shown} == {row % 3}
        assert f"train {shown[-1]} " in prompt.text.split(f"test {row} ")[0].rsplit("user", 2)[1]


def test_nearest_is_the_same_for_one_row_as_for_all(make_config: MakeConfig, tokenizer: Any) -> None:
    plan = make_plan(
        make_config(dataset__shots=0, inference={"icl_examples": 1, "icl_selection": "nearest"}), tokenizer
    )
    assert plan.first("test") == plan.evaluated("test").part(0, 1)


def test_training_stays_balanced_for_every_way_to_choose(make_config: MakeConfig, tokenizer: Any) -> None:
    """Otherwise, different counts per label would leak the label of the trained row."""
    training = {"icl_examples": 2, "random_icl": True, "trainer_args": {"max_length": 280}}
    for pool in ("shots", "train"):
        inference = {"icl_examples": 1, "icl_selection": "nearest", "icl_pool": pool, "max_seq_length": 900}
        plan = make_plan(make_config(dataset__shots=3, training=training, inference=inference), tokenizer)
        for prompt, shown in zip(plan.training().prompts, plan.training().shown, strict=True):
            assert sorted(row % 3 for row in shown) == [0, 1, 2]
            assert prompt.dropped_examples == 3
        rows = {row for shown in plan.evaluated("test").shown for row in shown}
        assert (rows <= set(plan.training().rows)) == (pool == "shots")


@pytest.mark.parametrize("random_icl", [False, True])
def test_training_prompts_count_only_their_own_examples(
    make_config: MakeConfig, tokenizer: Any, random_icl: bool
) -> None:
    config = make_config(
        dataset__shots=4,
        inference={"max_seq_length": 900},
        training={"icl_examples": 2, "random_icl": random_icl, "trainer_args": {"max_length": 280}},
    )
    trained = make_plan(config, tokenizer).training()
    for prompt, shown in zip(trained.prompts, trained.shown, strict=True):
        assert len(shown) == examples_in(prompt) == 3
        assert prompt.dropped_examples == 3


def test_a_row_too_long_for_any_example_shows_none(make_config: MakeConfig, tokenizer: Any) -> None:
    inference = {"icl_examples": 1, "icl_pool": "train", "random_icl": True, "max_seq_length": 100}
    evaluated = make_plan(make_config(dataset__shots=0, inference=inference), tokenizer).evaluated("test")
    assert set(evaluated.shown) == {()}
    assert {prompt.dropped_examples for prompt in evaluated.prompts} == {3}


def test_all_evaluated_splits_are_shown_the_same_fixed_examples(
    make_config: MakeConfig, tokenizer: Any, tmp_path: Path
) -> None:
    rows = ["a lovely one,good", "an awful one,bad", "2 lovely,good", "2 awful,bad", "3 lovely,good", "3 awful,bad"]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "test.csv").write_text("text,label\nshort,good\n")
    # validation is too long for both rounds and holds a text of the train split
    (tmp_path / "validation.csv").write_text(f"text,label\n{'long ' * 20},good\na lovely one,good\n")
    config = make_config(
        dataset={"path": str(tmp_path), "task_type": "classification", "validation_split": "validation"},
        inference={"icl_examples": 2, "max_seq_length": 250},
    )
    for order in (["test", "validation"], ["validation", "test"]):
        plan = make_plan(config, tokenizer)
        evaluated = {role: plan.evaluated(role) for role in order}
        (shown,) = {indices for role in order for indices in evaluated[role].shown}
        assert len(shown) == 2
        assert 0 not in shown  # the text of a validation row
        assert {examples_in(prompt) for role in order for prompt in evaluated[role].prompts} == {2}


def test_checking_the_first_prompt_does_not_change_the_run(
    make_config: MakeConfig, tokenizer: Any, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text("text,label\nlovely,good\nawful,bad\n")
    (tmp_path / "test.csv").write_text(f"text,label\nshort,good\n{'long ' * 30},good\n")
    config = make_config(
        dataset={"path": str(tmp_path), "task_type": "classification"},
        inference={"icl_examples": 1, "max_seq_length": 200},
    )
    plan = make_plan(config, tokenizer)
    assert examples_in(plan.first("test").prompts[0]) == 2
    assert {examples_in(prompt) for prompt in plan.evaluated("test").prompts} == {0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__trainer_args": {"max_length": 20}}, r"training\.trainer_args\.max_length is 20"),
        ({"inference": {"max_seq_length": 20}}, r"inference\.max_seq_length is 20"),
    ],
)
def test_the_limit_that_a_row_exceeds_is_named(
    make_config: MakeConfig, tokenizer: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        make_plan(make_config(**changes), tokenizer).training()
    with pytest.raises(DataError, match=r"the context length of the model is 19"):
        make_plan(make_config(**changes), tokenizer, context=19).training()


def test_long_trained_answers_do_not_break_the_shared_prefix(
    make_config: MakeConfig, tokenizer: Any, tmp_path: Path
) -> None:
    answers = ["a"] * 8 + ["long" * 15] * 4
    rows = "\n".join(f"q{n},{answer}" for n, answer in enumerate(answers))
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{rows}\n")
    config = make_config(
        dataset={"path": str(tmp_path), "task_type": "generation", "shots": "all"},
        training__icl_examples=2,
        inference={"max_seq_length": 130, "generation_args": {"max_new_tokens": 1}},
    )
    for seed in range(6):
        assert len(set(make_plan(config, tokenizer, seed).training().shown)) == 1


def test_a_zero_shot_prompt_of_the_train_split_can_be_shown(make_config: MakeConfig, tokenizer: Any) -> None:
    for task_type in ("generation", "classification"):
        config = make_config(dataset__shots=0, dataset__task_type=task_type, lora=None, training=None)
        (row,) = make_plan(config, tokenizer).look_at_training(trains=False, count=1)
        assert "train 0 awful" in row.prompt.text
        assert tokenizer.decode(row.prompt.completion_ids[:-1]) == "bad"


@pytest.mark.parametrize("examples", [{}, {"icl_examples": 1}, {"icl_examples": 2, "random_icl": True}])
def test_validation_rows_are_neither_trained_on_nor_shown(
    make_config: MakeConfig, tokenizer: Any, examples: dict[str, Any]
) -> None:
    training = {"trainer_args": {}, "validation_size": 1, **examples}
    config = make_config(dataset__shots=4, training=training, inference={"max_seq_length": 900})
    plan = make_plan(config, tokenizer)
    trained = plan.training()
    validation = trained.validation
    assert validation is not None and len(validation.prompts) == len(validation.rows) == 3
    shown = {row for rows in (*trained.shown, *validation.shown) for row in rows}
    assert not set(validation.rows) & (set(trained.rows) | shown)
    assert {len(rows) for rows in validation.shown} == {3 * examples.get("icl_examples", 0)}
    everything = make_plan(make_config(dataset__shots=4), tokenizer).training()
    assert trained.labelled_rows == set(everything.rows)  # the number of labelled rows is the same


def test_without_training_nothing_is_held_out(make_config: MakeConfig) -> None:
    config = make_config(training__validation_size=1)
    experiment = Experiment("x", ExperimentConfig.model_validate(config), 13, "evaluate")
    assert open_task(experiment).validation_shots == ()


def test_of_several_questions_the_first_is_shown_whole_with_its_answer(
    make_config: MakeConfig, tokenizer: Any, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        rows = ["it rains,hot|wet", "the sun,wet", f"{split} word,"]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    dataset = {"path": str(tmp_path), "task_type": "multilabel", "shots": "all", "label_separator": "|"}
    plan = make_plan(make_config(dataset=dataset, prompting__yes_no=["yes", "yesterday"]), tokenizer)
    looked_at = plan.look_at_evaluated("test", 3)
    for row, answer in zip(looked_at, ("yes", "yesterday", "yesterday"), strict=True):
        assert row.question is not None
        assert tokenizer.decode(row.read.completion_ids) == f"{answer}<|im_end|>"
        assert tokenizer.decode(row.read.ids).endswith('"hot" apply?<|im_end|>\n<|im_start|>assistant\n')
        # in all, the scored tokens: the common prefix of all questions and the rest of this one
        assert [*row.read.ids, *row.read.completion_ids] == [*row.prompt.ids, *row.prompt.completion_ids]
        assert len(row.read.ids) > len(row.prompt.ids)
        kept = kept_row("test", row, tokenizer)
        assert [piece["text"] for piece in kept["pieces"] if piece["kind"] == "completion"] == [f"{answer}<|im_end|>"]
        assert [piece["text"] for piece in kept["pieces"]][-3:-1] == [
            'Does the label "hot" apply?', "<|im_end|>\n<|im_start|>assistant\n"
        ]  # fmt: skip
        assert (kept["prompt_tokens"], kept["answer_tokens"]) == (len(row.read.ids), len(row.read.completion_ids))

"""`lib/grid.libsonnet`: the experiments of a base and varying settings, their names, and dropped settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft.config.reading.load import Grid, load_grid
from sft.errors import ConfigError

BASE = """{
  dataset: { path: 'org/data', task_type: 'classification' },
  model: { name: 'org/model' },
  lora: { r: 8, lora_alpha: 16 },
  prompting: { input_columns: ['text'], output_column: 'label' },
  training: { trainer_args: { num_train_epochs: 5 } },
  inference: {},
}"""


@pytest.fixture
def grid(write: Callable[..., Path]) -> Callable[..., Grid]:
    """Load `grid(base, vary=…, rest)`."""

    def load(vary: str, base: str = BASE, rest: str = "") -> Grid:
        text = f"local grid = import 'lib/grid.libsonnet';\ngrid({base}, vary={vary}{rest})"
        return load_grid(write(text, "grid.jsonnet"))

    return load


def names(grid: Grid) -> list[str]:
    return list(grid.configs)


def test_the_user_s_grid(grid: Callable[..., Grid]) -> None:
    made = grid(
        "{ 'dataset.shots': [0, 8, 16, 32], 'inference.icl_examples': [0, 2], "
        "'lora.init_lora_weights': [true, 'pca', 'pissa'] }",
        rest=", seeds=[13, 14, 15]",
    )
    assert len(made.configs) == 20
    assert made.seeds == (13, 14, 15)
    assert names(made)[:5] == [
        "shots=0 icl=0", "shots=0 icl=2", "shots=8 icl=0 init=default", "shots=8 icl=0 init=pca",
        "shots=8 icl=0 init=pissa",
    ]  # fmt: skip
    config = made.configs["shots=32 icl=2 init=pissa"]
    assert (config.dataset.shots, config.name) == (32, "shots=32 icl=2 init=pissa")
    assert config.inference is not None
    assert config.inference.icl_examples == 2
    assert config.lora is not None
    assert config.lora.init_lora_weights == "pissa"
    assert config.lora.arguments == {"r": 8, "lora_alpha": 16}


def test_zero_shot_experiments_have_no_adapter_and_no_training(grid: Callable[..., Grid]) -> None:
    made = grid("{ 'dataset.shots': [0, 4], 'training.trainer_args.learning_rate': [1e-4, 3e-4], 'lora.r': [8, 16] }")
    assert names(made) == [
        "shots=0", "shots=4 r=8 lr=0.0001", "shots=4 r=8 lr=0.0003", "shots=4 r=16 lr=0.0001", "shots=4 r=16 lr=0.0003",
    ]  # fmt: skip
    zero, four = made.configs["shots=0"], made.configs["shots=4 r=16 lr=0.0003"]
    assert zero.lora is None
    assert zero.training is None
    assert four.training is not None
    assert four.training.trainer_args == {"num_train_epochs": 5, "learning_rate": 3e-4}


def test_all_shots_are_not_zero_shots(grid: Callable[..., Grid]) -> None:
    assert names(grid("{ 'dataset.shots': [0, 'all'], 'lora.r': [8, 16] }")) == [
        "shots=0", "shots=all r=8", "shots=all r=16",
    ]  # fmt: skip


def test_without_shots_at_all_training_cannot_matter(grid: Callable[..., Grid]) -> None:
    assert names(grid("{ 'lora.r': [8, 16] }")) == ["zero-shot"]
    assert names(grid("{ lora: [{ r: 8 }, { r: 16 }], 'model.name': ['a/b', 'a/c'] }")) == ["model=b", "model=c"]
    assert names(grid("{}")) == ["experiment"]
    assert names(grid("{}", base=BASE[:-1] + "name: 'mine' }")) == ["mine"]


def test_how_examples_are_drawn_matters_only_with_examples(grid: Callable[..., Grid]) -> None:
    made = grid("{ 'inference.icl_examples': [0, 2], 'inference.random_icl': [false, true] }")
    assert names(made) == ["icl=0", "icl=2 random_icl=no", "icl=2 random_icl=yes"]
    made = grid("{ 'inference.icl_selection': ['random', 'nearest'], 'inference.icl_examples': [0, 2] }")
    assert names(made) == ["icl=0", "icl=2 selection=nearest", "icl=2 selection=random"]
    made = grid("{ 'dataset.shots': [0, 4], 'training.icl_examples': [0, 1], 'training.random_icl': [false, true] }")
    assert names(made) == [
        "shots=0", "shots=4 train_icl=0", "shots=4 train_icl=1 random_icl=no", "shots=4 train_icl=1 random_icl=yes",
    ]  # fmt: skip
    assert names(grid("{ 'dataset.shots': [0, 4], 'seeds.init': [1, 2] }")) == [
        "shots=0",
        "shots=4 init=1",
        "shots=4 init=2",
    ]


def test_keys_that_change_together(grid: Callable[..., Grid]) -> None:
    made = grid("{ 'dataset.shots': [4], 'lora.r, lora.lora_alpha': [[8, 16], [32, 64]] }")
    assert names(made) == ["shots=4 r=8 alpha=16", "shots=4 r=32 alpha=64"]
    lora = made.configs["shots=4 r=32 alpha=64"].lora
    assert lora is not None
    assert lora.arguments == {"r": 32, "lora_alpha": 64}
    assert names(grid("{ 'dataset.shots,inference.icl_examples': { shown: [0, 4], trained: [4, 0] } }")) == [
        "shots=shown", "shots=trained",
    ]  # fmt: skip


def test_own_names(grid: Callable[..., Grid]) -> None:
    made = grid("{ 'model.name': { small: 'org/model-0.5B', big: 'org/model-7B' } }")
    assert names(made) == ["model=big", "model=small"]
    assert made.configs["model=big"].model.name == "org/model-7B"


def test_whole_sections_are_replaced_and_named_readably(grid: Callable[..., Grid]) -> None:
    made = grid("""{ model: [
      { name: 'org/model-7B' },
      { name: 'org/model-7B', quantization: {
        config_class: 'BitsAndBytesConfig', args: { load_in_4bit: true, bnb_4bit_quant_type: 'nf4' } } },
      { name: 'org/model-7B', quantization: { config_class: 'BitsAndBytesConfig', args: { load_in_8bit: true } } },
      { name: 'org/model-7B', quantization: { config_class: 'GPTQConfig', args: { bits: 4 } } },
    ] }""")
    assert sorted(names(made)) == [
        "model=model-7B", "model=model-7B+GPTQ-4", "model=model-7B+int8", "model=model-7B+nf4",
    ]  # fmt: skip
    assert made.configs["model=model-7B"].model.quantization is None


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("training.trainer_args.learning_rate", "[1e-5, 0.0003]", ["lr=1e-05", "lr=0.0003"]),
        ("lora.target_modules", "['all-linear', ['q_proj', 'v_proj']]",
         ["target_modules=all-linear", "target_modules=q_proj+v_proj"]),
        ("lora.use_dora", "[false, true]", ["use_dora=no", "use_dora=yes"]),
        ("dataset.max_n_test", "[null, 100]", ["max_n_test=100", "max_n_test=none"]),
        ("model.name", "['a/same', 'b/same']", ["model=a/same", "model=b/same"]),
        ("dataset.max_n_test", "[5, 5, 6]", ["max_n_test=5", "max_n_test=5 #2", "max_n_test=6"]),
        ("lora.rank_pattern", "[{}, { q_proj: 4 }]", ["rank_pattern={}", "rank_pattern=q_proj4"]),
    ],
)  # fmt: skip
def test_values_as_short_texts(key: str, values: str, expected: list[str], grid: Callable[..., Grid]) -> None:
    made = grid(f"{{ '{key}': {values} }}", base=BASE.replace("'classification'", "'classification', shots: 4"))
    assert sorted(names(made)) == sorted(expected)


def test_keys_with_one_short_name_are_written_out(grid: Callable[..., Grid]) -> None:
    made = grid("{ 'inference.tokenizer_name': ['a/b', 'a/c'], 'evaluation.tokenizer_name': ['a/d'] }")
    parts = {part for name in names(made) for part in name.split()}
    assert parts == {"inference.tokenizer_name=b", "inference.tokenizer_name=c", "evaluation.tokenizer_name=d"}


def test_sections_that_the_base_lacks_are_made(grid: Callable[..., Grid]) -> None:
    made = grid("{ 'evaluation.ece_bins': [5, 10] }")
    assert [config.evaluation.ece_bins for config in made.configs.values()] == [5, 10]


@pytest.mark.parametrize(
    ("vary", "what"),
    [
        ("{ 'dataset.shots': 3 }", "vary['dataset.shots'] must be a list, or an object {name: value}"),
        ("{ 'dataset.shots': [] }", "vary['dataset.shots'] has no values"),
        ("{ 'dataset.': [1] }", "vary['dataset.']: a part of the key is empty"),
        ("{ 'dataset.path.x': [1, 2] }", "vary['dataset.path.x']: base has no object to set this in"),
        ("{ 'a.b,a.c': [1, 2] }", "vary['a.b,a.c']: each entry must be a list of 2 values, one for each key"),
        ("{ 'a.b,a.c': [[1], [2]] }", "each entry must be a list of 2 values"),
        ("{ 'lora.r,lora.lora_alpha': [[1, 2]], 'lora.r': [1] }", "a key varies twice"),
        ("{ model: [{ name: 'a/b' }], 'model.name': ['a/c'] }", "a key varies inside of another"),
        ("[1]", "vary must be an object {key: values}"),
    ],
)
def test_a_wrong_call_is_reported_in_one_line(vary: str, what: str, grid: Callable[..., Grid]) -> None:
    with pytest.raises(ConfigError) as caught:
        grid(vary)
    assert f"grid.jsonnet: grid: {what}" in str(caught.value) or what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_key_is_found_by_the_config_s_own_checks(grid: Callable[..., Grid]) -> None:
    with pytest.raises(ConfigError) as caught:
        grid("{ 'dataset.shotz': [1, 2] }")
    [problem] = caught.value.problems[:1]
    assert problem.where == "shotz=1: dataset.shotz"
    assert problem.what == 'unknown key; did you mean "shots"? (and 1 more experiment)'


def test_a_large_grid_takes_seconds(grid: Callable[..., Grid]) -> None:
    shots = "{ 'dataset.shots': std.range(1, 50), 'inference.icl_examples': [0, 2], 'lora.r': [8, 16, 32] }"
    assert len(grid(shots).configs) == 300


def test_a_hand_written_grid(write: Callable[..., Path]) -> None:
    text = f"""local base = {BASE};
    {{ configs: {{ ['shots %d' % n]: base {{ dataset+: {{ shots: n }} }} for n in [0, 8] }} }}"""
    made = load_grid(write(text, "grid.jsonnet"))
    shots: list[Any] = [config.dataset.shots for config in made.configs.values()]
    assert (names(made), shots, made.seeds) == (["shots 0", "shots 8"], [0, 8], None)


def test_full_finetuning_has_no_adapter_and_patience_requires_validation(grid: Callable[..., Grid]) -> None:
    made = grid(
        "{ 'training.full_finetuning': [false, true], 'lora.r': [8, 16], 'training.validation_size': [null, 2], "
        "'training.early_stopping_patience': [1, 3] }",
        BASE.replace("'classification' }", "'classification', shots: 4 }"),
    )
    short = [name.replace("full_finetuning", "full").replace("validation_size", "val") for name in names(made)]
    short = [name.replace("early_stopping_patience", "patience") for name in short]
    assert sorted(short) == sorted(
        [f"full=no val=2 r={r} patience={p}" for r in (8, 16) for p in (1, 3)]
        + [f"full=no val=none r={r}" for r in (8, 16)]
        + [f"full=yes val=2 patience={p}" for p in (1, 3)]
        + ["full=yes val=none"]
    )
    for config in made.configs.values():
        assert config.training is not None
        assert (config.lora is None) == config.training.full_finetuning
        assert config.training.validation_size is not None or config.training.early_stopping_patience is None

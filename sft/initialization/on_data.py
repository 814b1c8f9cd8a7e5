"""Run PEFT's data-driven initialisations `eva`, `corda` and `lora_ga` on the training rows.

PEFT runs on the base; weights that it would rewrite are copies (see `peft_own.py`). Nothing is cached between runs.

Shapes: T tokens of a row's answer; V tokens of the vocabulary.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from sft.errors import ModelError
from sft.initialization.apply import TargetLayer, set_matrices, target_layers
from sft.initialization.cache import Matrices
from sft.initialization.dequantize import dequantize
from sft.initialization.peft_own import layer_config, on_copies, peft_says, tree
from sft.modes import at_rest
from sft.plugins import PEFT_INITIALIZERS

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

    from sft.prompting.prompt import Prompt

MOST_EXAMPLES = 256
TOKENS_OF_A_BATCH = 256  # minimum, if there are as many; eva's decomposition needs more than the rank
MOST_PASSES = 200  # maximum number of forwards until eva converges
_FIXED_SETTINGS = {"eva": ("rho",), "corda": ("cache_file", "covariance_file")}  # settings that cannot be set


def start_on_data(
    model: PeftModel, adapter: str, init: str, settings: Mapping[str, Any], examples: Sequence[Prompt]
) -> None:
    """Overwrite A and B of every LoRA layer with PEFT's result on the layer's inputs or gradients.

    Args:
        model: the model with the adapter, created with PEFT's defaults, before its first forward.
        adapter: its name.
        init: PEFT's name.
        settings: LoraConfig's `eva_config`, `corda_config` or `lora_ga_config`.
        examples: training rows; the first `MOST_EXAMPLES` are used.

    Raises:
        ModelError: there are no examples, PEFT refuses an argument, or the base does not support it.
    """
    if not examples:
        raise ModelError(f'initialiser "{init}" needs training rows, but there are none')
    if forbidden := [key for key in _FIXED_SETTINGS.get(init, ()) if key in settings]:
        where = f"{PEFT_INITIALIZERS[init].settings}.{forbidden[0]}"
        raise ModelError(f"{where} cannot be set: ranks are fixed, and pickles are not read")
    make = {"eva": _eva, "corda": _corda, "lora_ga": _lora_ga}[init]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make(model, adapter, settings, examples[:MOST_EXAMPLES])
    except (TypeError, ValueError, torch.linalg.LinAlgError) as error:
        raise peft_says(init, error) from error


def _eva(model: PeftModel, adapter: str, settings: Mapping[str, Any], examples: Sequence[Prompt]) -> None:
    """Explained variance adaptation (Paischer et al. 2024, arXiv 2410.07170): A spans a layer's inputs; B is zero.

    PEFT computes components up to the largest rank for every layer. Each layer uses the first ones: ranks are fixed.
    """
    from peft import EvaConfig, get_eva_state_dict

    targets = target_layers(model, adapter)
    config = layer_config(targets[0], adapter, "eva")
    config.r = max(target.layer.r[adapter] for target in targets)
    config.eva_config = EvaConfig(**{"rho": 1.0, **settings})
    passes = 0

    def forward(peft_model: PeftModel, inputs: Mapping[str, torch.Tensor]) -> None:
        nonlocal passes
        passes += 1
        if passes > MOST_PASSES:
            raise ModelError(
                f'"eva" did not converge after {MOST_PASSES} batches; use more rows, a lower rank or a lower '
                "eva_config.tau"
            )
        with at_rest(peft_model):
            peft_model(**inputs)

    components = get_eva_state_dict(
        model, _batches(examples, config.r), config, forward_fn=forward, adapter_name=adapter, show_progress_bar=False
    )
    for target in targets:
        layer, rows = target.layer, components[f"base_model.model.{target.name}"]
        b_shape = layer.lora_B[adapter].weight.shape
        set_matrices(target, adapter, "eva", {"lora_A": rows[: layer.r[adapter]].cpu(), "lora_B": torch.zeros(b_shape)})


def _corda(model: PeftModel, adapter: str, settings: Mapping[str, Any], examples: Sequence[Prompt]) -> None:
    """Context-oriented decomposition adaptation (Yang et al. 2024, arXiv 2406.05223)."""
    from peft.tuners.lora.config import CordaConfig
    from peft.tuners.lora.corda import preprocess_corda

    targets = target_layers(model, adapter)
    weights = _weights(targets)  # before the forwards, after which int8 layers cannot be read
    config = _config_of_all(targets, adapter, "corda")
    config.corda_config = CordaConfig(**settings)
    copies, layers = tree(weights), [target.layer.get_base_layer() for target in targets]

    def run() -> None:
        with torch.no_grad(), model.disable_adapter(), at_rest(model):
            for example in examples:  # one at a time: PEFT counts each forward as a sample
                model(input_ids=_tensor([*example.ids, *example.completion_ids], model))
        for target, layer in zip(targets, layers, strict=True):
            if not getattr(layer, "sample_count", 0):  # PEFT hooks only plain linear layers and their subclasses
                raise ModelError(f'"corda" received no input of the layer "{target.name}"')

    preprocess_corda(copies, config, run_model=run, hooked_model=model.get_base_model())
    for layer in layers:
        del layer.sample_count, layer.covariance_matrix  # PEFT does not remove them, each as large as a weight
    _set_all(targets, adapter, "corda", on_copies(copies, config))


def _lora_ga(model: PeftModel, adapter: str, settings: Mapping[str, Any], examples: Sequence[Prompt]) -> None:
    """Gradient approximation (Wang et al. 2024, arXiv 2407.05000)."""
    from peft import LoraGAConfig
    from peft.tuners.lora.loraga import preprocess_loraga

    base = model.get_base_model()
    targets = target_layers(model, adapter)
    config = _config_of_all(targets, adapter, "lora_ga")
    config.lora_ga_config = LoraGAConfig(**settings)

    def step() -> None:
        with model.disable_adapter(), at_rest(model):
            for example in examples:
                ids = _tensor([*example.ids, *example.completion_ids], model)
                answer_TV = model(input_ids=ids).logits[0, len(example.ids) - 1 : -1].float()
                torch.nn.functional.cross_entropy(answer_TV, ids[0, len(example.ids) :]).backward()

    preprocess_loraga(base, config, step)
    copies = tree(_weights(targets))
    for target in targets:
        layer = target.layer.get_base_layer()
        if not hasattr(layer, "_peft_loraga_grad"):  # PEFT would silently use its default
            raise ModelError(f'"lora_ga" received no gradient of the layer "{target.name}"')
        gradient = layer._peft_loraga_grad
        copies.get_submodule(_name(target))._peft_loraga_grad = (
            gradient.T if type(layer).__name__ == "Conv1D" else gradient
        )
        del layer._peft_loraga_grad
    _set_all(targets, adapter, "lora_ga", on_copies(copies, config))


def _name(target: TargetLayer) -> str:
    """Return the name of the base's layer inside PEFT's layer."""
    return f"{target.name}.base_layer"


def _weights(targets: Sequence[TargetLayer]) -> dict[str, torch.Tensor]:
    return {_name(target): dequantize(target.layer.get_base_layer()) for target in targets}


def _config_of_all(targets: Sequence[TargetLayer], adapter: str, init: str) -> LoraConfig:
    """Return one config with the rank and alpha of each layer."""
    config = layer_config(targets[0], adapter, init)
    config.target_modules = {_name(target) for target in targets}
    config.rank_pattern = {_name(target): target.layer.r[adapter] for target in targets}
    config.alpha_pattern = {_name(target): target.layer.lora_alpha[adapter] for target in targets}
    return config


def _set_all(targets: Sequence[TargetLayer], adapter: str, init: str, made: Mapping[str, Matrices]) -> None:
    for target in targets:
        set_matrices(target, adapter, init, made[_name(target)])


def _tensor(ids: Sequence[int], model: PeftModel) -> torch.Tensor:
    return torch.tensor([list(ids)], device=model.get_input_embeddings().weight.device)


def _batches(examples: Sequence[Prompt], rank: int) -> list[dict[str, torch.Tensor]]:
    """Return padded batches of some hundred tokens each, and at least `rank`.

    Raises:
        ModelError: the examples have fewer tokens than `rank`.
    """
    least, batches, rows = max(TOKENS_OF_A_BATCH, 2 * rank), [], []
    for example in examples:
        rows.append([*example.ids, *example.completion_ids])
        if sum(map(len, rows)) >= least:
            batches.append(rows)
            rows = []
    if not batches or sum(map(len, rows)) >= least:
        batches.append(rows)
    else:
        batches[-1].extend(rows)
    if (tokens := sum(map(len, batches[0]))) < rank:
        raise ModelError(f'"eva" needs at least as many tokens as its rank {rank}, but the rows have only {tokens}')
    return [_padded(rows) for rows in batches]


def _padded(rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}

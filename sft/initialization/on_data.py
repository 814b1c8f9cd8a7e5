"""PEFT's own initialisations that look at data first: `eva`, `corda` and `lora_ga`, on the rows that are trained on.

PEFT's functions do the work, on the base as it is; whatever they would rewrite is a copy of a weight (see
`peft_own.py`). Nothing is kept from run to run. Knows nothing of how rows become tokens.

Shapes: T tokens of a row's answer; V tokens of the vocabulary.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from sft.errors import ModelError
from sft.initialization.apply import Place, lora_places, set_matrices
from sft.initialization.cache import Matrices
from sft.initialization.dequantize import dequantize
from sft.initialization.peft_own import layer_config, on_copies, peft_says, tree
from sft.modes import at_rest
from sft.plugins import PEFT_INITIALIZERS

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

    from sft.prompting.prompt import Prompt

MOST_EXAMPLES = 256
TOKENS_OF_A_BATCH = 256  # at least, where there are as many; eva's decomposition needs more than the rank
MOST_PASSES = 200  # forwards that eva may take until its directions stay
_OURS = {"eva": ("rho",), "corda": ("cache_file", "covariance_file")}  # settings that cannot be given


def start_on_data(
    model: PeftModel, adapter: str, init: str, settings: Mapping[str, Any], examples: Sequence[Prompt]
) -> None:
    """Overwrite A and B of every LoRA layer with what PEFT makes of its inputs or gradients on the examples.

    Args:
        model: with the adapter on it, made in PEFT's default way; not yet run.
        adapter: its name.
        init: PEFT's name.
        settings: what stands in LoraConfig's `eva_config`, `corda_config` or `lora_ga_config`.
        examples: rows that are trained on; the first `MOST_EXAMPLES` are used.

    Raises:
        ModelError: no examples, what PEFT refuses, or a base that it cannot do this on.
    """
    if not examples:
        raise ModelError(f'initialiser "{init}" looks at the rows that are trained on, and there are none')
    if idle := [key for key in _OURS.get(init, ()) if key in settings]:
        where = f"{PEFT_INITIALIZERS[init].settings}.{idle[0]}"
        raise ModelError(f"{where} cannot be set: ranks stay as they are, and no pickles are read")
    make = {"eva": _eva, "corda": _corda, "lora_ga": _lora_ga}[init]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make(model, adapter, settings, examples[:MOST_EXAMPLES])
    except (TypeError, ValueError, torch.linalg.LinAlgError) as error:
        raise peft_says(init, error) from error


def _eva(model: PeftModel, adapter: str, settings: Mapping[str, Any], examples: Sequence[Prompt]) -> None:
    """Explained variance adaptation (Paischer et al. 2024, arXiv 2410.07170): A spans a layer's inputs; B is zero.

    Every layer gets its components up to the largest rank and keeps the first of them: none changes its rank.
    """
    from peft import EvaConfig, get_eva_state_dict

    places = lora_places(model, adapter)
    config = layer_config(places[0], adapter, "eva")
    config.r = max(place.layer.r[adapter] for place in places)
    config.eva_config = EvaConfig(**{"rho": 1.0, **settings})
    passes = 0

    def forward(seen: PeftModel, inputs: Mapping[str, torch.Tensor]) -> None:
        nonlocal passes
        passes += 1
        if passes > MOST_PASSES:
            raise ModelError(
                f'"eva" has not settled after {MOST_PASSES} batches; more rows, a lower rank or a lower eva_config.tau '
                "would help"
            )
        with at_rest(seen):
            seen(**inputs)

    found = get_eva_state_dict(
        model, _batches(examples, config.r), config, forward_fn=forward, adapter_name=adapter, show_progress_bar=False
    )
    for place in places:
        layer, rows = place.layer, found[f"base_model.model.{place.name}"]
        b_shape = layer.lora_B[adapter].weight.shape
        set_matrices(place, adapter, "eva", {"lora_A": rows[: layer.r[adapter]].cpu(), "lora_B": torch.zeros(b_shape)})


def _corda(model: PeftModel, adapter: str, settings: Mapping[str, Any], examples: Sequence[Prompt]) -> None:
    """Context-oriented decomposition adaptation (Yang et al. 2024, arXiv 2406.05223)."""
    from peft.tuners.lora.config import CordaConfig
    from peft.tuners.lora.corda import preprocess_corda

    places = lora_places(model, adapter)
    weights = _weights(places)  # before the forward passes, after which int8 layers cannot be read
    config = _config_of_all(places, adapter, "corda")
    config.corda_config = CordaConfig(**settings)
    copies, layers = tree(weights), [place.layer.get_base_layer() for place in places]

    def run() -> None:
        with torch.no_grad(), model.disable_adapter(), at_rest(model):
            for one in examples:  # one by one: PEFT takes each for a sample
                model(input_ids=_tensor([*one.ids, *one.completion_ids], model))
        for place, layer in zip(places, layers, strict=True):
            if not getattr(layer, "sample_count", 0):  # PEFT hooks plain linear layers and their subclasses
                raise ModelError(f'"corda" has seen no input of the layer "{place.name}"')

    preprocess_corda(copies, config, run_model=run, hooked_model=model.get_base_model())
    for layer in layers:
        del layer.sample_count, layer.covariance_matrix  # which PEFT leaves behind, each as large as a weight
    _set_all(places, adapter, "corda", on_copies(copies, config))


def _lora_ga(model: PeftModel, adapter: str, settings: Mapping[str, Any], examples: Sequence[Prompt]) -> None:
    """Gradient approximation (Wang et al. 2024, arXiv 2407.05000)."""
    from peft import LoraGAConfig
    from peft.tuners.lora.loraga import preprocess_loraga

    base = model.get_base_model()
    places = lora_places(model, adapter)
    config = _config_of_all(places, adapter, "lora_ga")
    config.lora_ga_config = LoraGAConfig(**settings)

    def step() -> None:
        with model.disable_adapter(), at_rest(model):
            for one in examples:
                ids = _tensor([*one.ids, *one.completion_ids], model)
                answer_TV = model(input_ids=ids).logits[0, len(one.ids) - 1 : -1].float()
                torch.nn.functional.cross_entropy(answer_TV, ids[0, len(one.ids) :]).backward()

    preprocess_loraga(base, config, step)
    copies = tree(_weights(places))
    for place in places:
        layer = place.layer.get_base_layer()
        if not hasattr(layer, "_peft_loraga_grad"):  # PEFT would fall back to its default in silence
            raise ModelError(f'"lora_ga" has got no gradient of the layer "{place.name}"')
        gradient = layer._peft_loraga_grad
        copies.get_submodule(_name(place))._peft_loraga_grad = (
            gradient.T if type(layer).__name__ == "Conv1D" else gradient
        )
        del layer._peft_loraga_grad
    _set_all(places, adapter, "lora_ga", on_copies(copies, config))


def _name(place: Place) -> str:
    """Of the base's own layer, inside PEFT's."""
    return f"{place.name}.base_layer"


def _weights(places: Sequence[Place]) -> dict[str, torch.Tensor]:
    return {_name(place): dequantize(place.layer.get_base_layer()) for place in places}


def _config_of_all(places: Sequence[Place], adapter: str, init: str) -> LoraConfig:
    """One config in which each layer stands with its own rank and alpha."""
    config = layer_config(places[0], adapter, init)
    config.target_modules = {_name(place) for place in places}
    config.rank_pattern = {_name(place): place.layer.r[adapter] for place in places}
    config.alpha_pattern = {_name(place): place.layer.lora_alpha[adapter] for place in places}
    return config


def _set_all(places: Sequence[Place], adapter: str, init: str, made: Mapping[str, Matrices]) -> None:
    for place in places:
        set_matrices(place, adapter, init, made[_name(place)])


def _tensor(ids: Sequence[int], model: PeftModel) -> torch.Tensor:
    return torch.tensor([list(ids)], device=model.get_input_embeddings().weight.device)


def _batches(examples: Sequence[Prompt], rank: int) -> list[dict[str, torch.Tensor]]:
    """Rows padded to batches of some hundred tokens, each of more than `rank`.

    Raises:
        ModelError: fewer tokens than that in all.
    """
    least, batches, rows = max(TOKENS_OF_A_BATCH, 2 * rank), [], []
    for one in examples:
        rows.append([*one.ids, *one.completion_ids])
        if sum(map(len, rows)) >= least:
            batches.append(rows)
            rows = []
    if not batches or sum(map(len, rows)) >= least:
        batches.append(rows)
    else:
        batches[-1].extend(rows)
    if (tokens := sum(map(len, batches[0]))) < rank:
        raise ModelError(f'"eva" needs as many tokens as its rank, {rank}, but the rows have {tokens} in all')
    return [_padded(rows) for rows in batches]


def _padded(rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}

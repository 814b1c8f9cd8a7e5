"""Create and load PEFT adapters on a base model. `saving.py` saves them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, NamedTuple

from sft.config.sections.lora import REFUSED_TYPES, AdapterSection, LoraSection
from sft.config.sections.model import ModelConfig
from sft.errors import ModelError, did_you_mean
from sft.foreign import explained, is_foreign, one_line
from sft.initialization.initializers import maker_of
from sft.log import get_logger
from sft.model.full import require_decoder_only
from sft.model.load import empty_model
from sft.model.quantised.quantization import quantization_method
from sft.model.quantised.quantized import packed_linear_names, require_trainable
from sft.model.saving import ADAPTER, ADAPTER_CONFIG, ADAPTER_WEIGHTS
from sft.model.sealed import check_whole
from sft.model.source import check_folder, import_peft, pickled, quiet
from sft.model.targets import ALL_LINEAR, check_targets
from sft.plugins import PEFT_INITIALIZERS, Maker, initializer_problem, initializer_spec
from sft.protocols import LanguageModel

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

    from sft.prompting.prompt import Prompt

logger = get_logger(__name__)


def create_adapter(
    model: LanguageModel,
    lora: LoraSection | None,
    adapter: AdapterSection | None,
    seed: int,
    examples: Sequence[Prompt] = (),
) -> PeftModel:
    """Create a trainable adapter on a freshly loaded base. It does not change the function of the base.

    Args:
        model: the base, before its first forward: initialisers read its weights.
        lora: the `lora` section, or None.
        adapter: the `adapter` section, or None. Exactly one of the two must be set.
        seed: seed of the random initialisation.
        examples: training prompts, for initialisers that use data.

    Raises:
        ModelError: the model is an encoder-decoder model, PEFT refuses an argument, or the initialiser does not fit.
    """
    peft = import_peft()
    from transformers import set_seed

    require_trainable(model)
    section, arguments, start = _wanted(model, lora, adapter)
    config = _peft_config(section, arguments)
    _refuse_quantized_dora(model, config, section)
    set_seed(seed)
    with explained(f"{section}: PEFT says", ModelError), quiet(), warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        made = peft.get_peft_model(model, config)
    for warning in raised:
        if "were ignored" in str(warning.message):  # keys of rank_pattern or alpha_pattern that name no layer
            logger.warning("%s: %s", section, str(warning.message))
    if start.init is not True:
        _initialize(made, start, examples)
    return made.eval()


def check_adapter(config: ModelConfig, lora: LoraSection | None, adapter: AdapterSection | None) -> None:
    """Create an adapter on the base without weights, to find errors in the config before the model is loaded.

    Raises:
        ModelError: `create_adapter` would raise an error for these sections and this architecture.
    """
    model = empty_model(config)
    section, arguments, _ = _wanted(model, lora, adapter)
    made = _peft_config(section, arguments)
    if getattr(made, "target_modules", None) is not None:  # other adapter types read weights when they are created
        with explained(f"{section}: PEFT says", ModelError), quiet():
            import_peft().get_peft_model(model, made)


def _wanted(
    model: LanguageModel, lora: LoraSection | None, adapter: AdapterSection | None
) -> tuple[str, dict[str, Any], _Start]:
    """Return the section, its PEFT arguments, and the initialisation.

    Raises:
        ModelError: an encoder-decoder model, a layer that the model does not have, or an unknown initialiser.
    """
    require_decoder_only(model)
    section, arguments = _chosen(lora, adapter)
    check_targets(model, section, arguments)
    if arguments.get("target_modules") == ALL_LINEAR and (names := packed_linear_names(model)):
        arguments["target_modules"] = names
        logger.info("%s.target_modules: all-linear selects %d layers", section, len(names))
    return section, arguments, _start_of(model, section, arguments)


class _Start(NamedTuple):
    """The initialisation of A and B: its name in the config, its kind, and its settings in LoraConfig."""

    init: bool | str
    maker: Maker
    settings: dict[str, Any]


def _start_of(model: LanguageModel, section: str, arguments: dict[str, Any]) -> _Start:
    """Return the requested initialisation, and remove its settings from the arguments of LoraConfig.

    Raises:
        ModelError: the initialiser is unknown, or does not work on a quantised base.
    """
    init = arguments.get("init_lora_weights", True)
    problem, quantised = initializer_problem(init), bool(quantization_method(model))
    if quantised and (reason := initializer_spec(init).needs_full_precision):
        problem = f'"{init}" does not work on a quantised base: {reason}'
    if problem:
        raise ModelError(f"{section}.init_lora_weights: {problem}")
    start = _Start(init, maker_of(init, quantised), {})
    if start.maker != "peft":
        arguments["init_lora_weights"] = True  # PEFT's default, overwritten later
    for spec in (spec for spec in PEFT_INITIALIZERS.values() if spec.settings):
        value = arguments.pop(spec.settings, None)
        if value and initializer_spec(init) is spec:
            start.settings.update(value)
        elif value:
            logger.warning('%s.%s has no effect: init_lora_weights is not "%s"', section, spec.settings, spec.name)
    return start


def _refuse_quantized_dora(model: LanguageModel, config: PeftConfig, key: str) -> None:
    """Refuse DoRA on a bitsandbytes base on the CPU.

    DoRA reads the base's weights in every forward. On the CPU, bitsandbytes has repacked 4-bit weights by then (outputs
    would be silently wrong) and dropped int8 ones.
    """
    if (
        getattr(config, "use_dora", False)
        and quantization_method(model) == "bitsandbytes"
        and model.device.type == "cpu"
    ):
        raise ModelError(f"{key}: DoRA does not work on a bitsandbytes base on the CPU; use plain LoRA, or a GPU")


def _initialize(made: PeftModel, start: _Start, examples: Sequence[Prompt]) -> None:
    """Run the initialiser, unless PEFT has already done so, and keep the model's function that of the base."""
    from sft.initialization.apply import apply_initializer
    from sft.initialization.hold import check_step_zero, hold_start, starts_elsewhere
    from sft.initialization.on_data import start_on_data
    from sft.initialization.peft_own import start_on_copies

    maker, name = start.maker, str(start.init)
    if maker == "registry":
        apply_initializer(made, name, ADAPTER)
    elif maker == "copy":
        start_on_copies(made, ADAPTER, name.lower(), start.settings)
    elif maker == "data":
        start_on_data(made, ADAPTER, name.lower(), start.settings, examples)
    if (maker != "peft" or start.init is False) and starts_elsewhere(made, ADAPTER):
        with quiet():
            hold_start(made, ADAPTER)
    check_step_zero(made, f"init_lora_weights {start.init!r}")


def load_adapter(model: LanguageModel, path: str | Path) -> PeftModel:
    """Load a trained adapter on its base, in eval mode.

    Raises:
        ModelError: the folder has no adapter, the adapter belongs to another architecture, or its files differ from
            their recorded hashes.
    """
    peft = import_peft()
    check_folder("model.adapter", str(path), ADAPTER_CONFIG)
    check_whole("model.adapter", path, (ADAPTER_WEIGHTS, ADAPTER_CONFIG))
    try:
        with quiet(), warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            loaded = peft.PeftModel.from_pretrained(model, str(path))
    except UnpicklingError as error:
        raise pickled("model.adapter", str(path)) from error
    except Exception as error:
        if not is_foreign(error):
            raise
        if isinstance(error, KeyError):
            problem = f"{ADAPTER_CONFIG} has a value that PEFT does not know: {error}"
            raise ModelError(f'model.adapter: "{path}": {problem}') from error
        raise ModelError(f'model.adapter: "{path}" does not fit the model: {one_line(error)}') from error
    if any("missing adapter keys" in str(warning.message) for warning in raised):
        raise ModelError(f'model.adapter: "{path}" does not fit the model: weights that its config names are missing')
    if foreign := _foreign_weights(loaded, Path(path)):
        raise ModelError(f'model.adapter: "{path}" does not fit the model, which has no layer for {foreign[0]}')
    _refuse_quantized_dora(model, loaded.peft_config[ADAPTER], "model.adapter")
    return loaded.eval()


def _foreign_weights(loaded: PeftModel, path: Path) -> list[str]:
    """Return the weights in the adapter's file for which the model has no layer; PEFT ignores them silently."""
    from safetensors import safe_open

    file = path / ADAPTER_WEIGHTS
    if not file.exists():  # an older adapter's pickle
        return []
    loaded_names = import_peft().get_peft_model_state_dict(loaded, save_embedding_layers=False)
    with safe_open(file, framework="pt") as held:
        names = list(held.keys())
    # PEFT may have stored copies of the base's embeddings and head with the adapter.
    return [name for name in names if name not in loaded_names and "embed" not in name and "lm_head" not in name]


def _chosen(lora: LoraSection | None, adapter: AdapterSection | None) -> tuple[str, dict[str, Any]]:
    """Return the section that is set, and its PEFT arguments."""
    if lora is not None and adapter is None:
        return "lora", {"peft_type": "LORA", **lora.arguments, "init_lora_weights": lora.init_lora_weights}
    if adapter is not None and lora is None:
        return "adapter", {"peft_type": adapter.peft_type, **adapter.arguments}
    raise ModelError("set exactly one of the sections lora and adapter")


def _peft_config(section: str, arguments: dict[str, Any]) -> PeftConfig:
    """Build the PEFT config of a section.

    Raises:
        ModelError: `peft_type` or an argument is unknown.
    """
    peft = import_peft()
    arguments = {"task_type": "CAUSAL_LM", **arguments}
    kind = str(arguments.pop("peft_type")).upper()
    known = {str(each.value): made for each, made in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if kind not in known:
        raise ModelError(
            f'{section}.peft_type: PEFT has no "{kind}"{did_you_mean(kind, list(known))} (it has: {", ".join(known)})'
        )
    if kind in REFUSED_TYPES:
        raise ModelError(f"{section}.peft_type: {kind} is not supported: {REFUSED_TYPES[kind]}")
    with explained(f"{section}: PEFT says", ModelError), quiet():
        return known[kind](**arguments)

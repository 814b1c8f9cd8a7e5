"""Arguments of transformers' `from_pretrained` (model.model_args): their types, and the unsupported ones.

Other names are attributes of the model's own config (`sliding_window`): only the model's class knows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sft.config.wording import fits, not_allowed, quoted, types_phrase
from sft.errors import Problem

MODEL_ARGS = "model.model_args"
_TYPES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("revision", "code_revision", "subfolder", "variant", "cache_dir", "offload_folder", "gguf_file",
         "experts_implementation"), ("str", "null"),
    ),
    **dict.fromkeys(
        ("trust_remote_code", "parallelize", "local_files_only", "force_download", "use_safetensors",
         "offload_buffers", "offload_state_dict", "low_cpu_mem_usage", "use_kernels", "ignore_mismatched_sizes"),
        ("bool", "null"),
    ),
    **dict.fromkeys(("max_memory", "key_mapping", "proxies"), ("dict", "null")),
    "token": ("str", "bool", "null"),
    "device_map": ("str", "dict", "null"),
    "attn_implementation": ("str", "dict", "null"),
    "no_split_module_classes": ("list", "null"),
}  # fmt: skip
_ELSEWHERE = {
    **dict.fromkeys(("quantization_config", "load_in_4bit", "load_in_8bit"), "set model.quantization"),
    **dict.fromkeys(("adapter_kwargs", "adapter_name"), "set model.adapter, the path of a trained adapter"),
    "config": "set the keys of the model's config that differ in model.model_args itself",
    "generation_config": "set inference.generation_args",
    **dict.fromkeys(
        ("tp_plan", "tp_size", "device_mesh", "distributed_config"),
        "tensor parallelism is not supported; parallelize distributes the layers over the GPUs",
    ),
    **dict.fromkeys(("from_tf", "from_flax"), "transformers reads PyTorch weights only"),
    **dict.fromkeys(
        ("state_dict", "output_loading_info", "return_unused_kwargs", "weights_only"), "it cannot be set in a config"
    ),
}
_DTYPE = re.compile(r"(torch\.)?(auto|half|float|double|bfloat16|float(16|32|64)|float8_\w+)")


def model_argument_problems(args: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each argument that cannot be used."""
    for name, value in args.items():
        where = f"{MODEL_ARGS}.{name}"
        if name in _ELSEWHERE:
            yield Problem(where, f"is not supported: {_ELSEWHERE[name]}")
        elif name in ("dtype", "torch_dtype"):
            if value is not None and not (isinstance(value, str) and _DTYPE.fullmatch(value)):
                yield Problem(where, not_allowed(value, '"auto", "float32", "bfloat16" or "float16"'))
        elif name in _TYPES and not fits(value, _TYPES[name]):
            types = tuple(kind for kind in _TYPES[name] if kind != "null")
            yield Problem(where, not_allowed(value, types_phrase(types)))
        elif name == "ignore_mismatched_sizes" and value:
            yield Problem(where, "is not supported: weights of another shape would be replaced by random ones")
    yield from _split_problems(args)
    yield from _fetched_code(MODEL_ARGS, args, args)


def _split_problems(args: Mapping[str, Any]) -> Iterator[Problem]:
    names = args.get("no_split_module_classes")
    if isinstance(names, list) and not all(isinstance(name, str) for name in names):
        yield Problem(f"{MODEL_ARGS}.no_split_module_classes", not_allowed(names, "a list of class names"))


def model_argument_notices(args: Mapping[str, Any]) -> Iterator[str]:
    """Yield a notice for each argument without an effect."""
    if args.get("parallelize") is not True and not args.get("device_map"):
        for name in ("no_split_module_classes", "max_memory", "offload_folder"):
            if args.get(name):
                yield f"{MODEL_ARGS}.{name} has no effect: neither parallelize nor device_map is set"


# Arguments with which transformers downloads code, apart from those that end in `_implementation`.
_FETCH_CODE = ("use_kernels", "kernel_config", "custom_generate")
# Arguments that select a decoding method whose code transformers downloads from the Hub.
_GENERATES_BY_CODE = {
    "penalty_alpha": "contrastive search",
    "dola_layers": "DoLa decoding",
    "force_words_ids": "constrained beam search",
    "constraints": "constrained beam search",
    "num_beam_groups": "group beam search",
}


def generation_code_problems(args: Mapping[str, Any], model_args: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the arguments of `generate` with which transformers downloads code from the Hub."""
    yield from _fetched_code("inference.generation_args", args, model_args)
    for name, method in _GENERATES_BY_CODE.items():
        if args.get(name) not in (None, False, 0, 1) and model_args.get("trust_remote_code") is not True:
            yield Problem(
                f"inference.generation_args.{name}",
                f"{method} downloads code from the Hub and runs it; if you trust it, set "
                f"{MODEL_ARGS}.trust_remote_code to true",
            )


def _fetched_code(where: str, args: Mapping[str, Any], model_args: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the arguments with which transformers downloads code and runs it, whatever `trust_remote_code` is."""
    if model_args.get("trust_remote_code") is True:
        return
    for name, value in args.items():
        names = list(value.values()) if isinstance(value, dict) else [value]
        is_repository = name.endswith("_implementation") and any("/" in str(item) for item in names)
        if is_repository or (name in _FETCH_CODE and value not in (None, False)):
            what = f"{quoted(value)} downloads code from the Hub and runs it"
            yield Problem(f"{where}.{name}", f"{what}; if you trust it, set {MODEL_ARGS}.trust_remote_code to true")

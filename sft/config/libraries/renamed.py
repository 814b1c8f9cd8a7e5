"""Arguments of older trainers (transformers 4, TRL 0.x) and their replacements. Data only.

A test checks that none of the old names is an argument of the installed version, and that every new one is. `ELSEWHERE`
lists the arguments that a config sets elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

# New name, same value.
RENAMED: Mapping[str, str] = {
    "max_seq_length": "max_length",
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub_token": "hub_token",
    "use_liger": "use_liger_kernel",
    "xpu_backend": "ddp_backend",
    "include_tokens_per_second": "include_num_input_tokens_seen",
}

# New name and new value; `translate_trainer_args` converts it.
RESHAPED: Mapping[str, str] = {
    "warmup_ratio": "warmup_steps",
    "group_by_length": "train_sampling_strategy",
    "include_inputs_for_metrics": "include_for_metrics",
    "split_batches": "accelerator_config",
    "dispatch_batches": "accelerator_config",
}

# New spelling of a value: (argument, old value) -> new value.
RENAMED_VALUES: Mapping[tuple[str, str], str] = {
    ("optim", "adamw_hf"): "adamw_torch",
    ("optim", "adamw_apex_fused"): "adamw_torch_fused",
    ("truncation_mode", "keep_left"): "keep_start",
    ("loss_type", "chunked_nll"): "nll",
}

# Arguments of the trainer that a config sets elsewhere, and where.
ELSEWHERE: Mapping[str, str] = {
    "seed": "seeds.training (or seed, for the whole run)",
    "data_seed": "seeds.training (or seed, for the whole run)",
}

# Removed arguments, and what to do instead.
REMOVED: Mapping[str, str] = {
    "overwrite_output_dir": "remove it: each run has its own folder, and nothing is overwritten",
    "save_safetensors": "remove it: adapters are always saved as safetensors",
    "adafactor": 'set "optim": "adafactor"',
    "logging_dir": "remove it, and set the environment variable TENSORBOARD_LOGGING_DIR",
    "tokenizer": "remove it: the model's tokenizer is used",
    "torch_dtype": 'set model.model_args.dtype, or "bf16": true',
    "max_prompt_length": "set prompting.max_input_length",
    "max_completion_length": "set prompting.max_output_length",
    "label_pad_token_id": "remove it: tokens outside the target are masked",
    "padding_value": "remove it: the tokenizer's pad token is used",
    "is_encoder_decoder": "remove it: models here are causal",
    "generate_during_eval": "remove it: the model is evaluated after training",
    "num_of_sequences": "remove it: rows are no longer packed by characters",
    "chars_per_token": "remove it: rows are no longer packed by characters",
    "dataset_batch_size": "remove it",
    "rpo_alpha": 'set "loss_type": ["sigmoid", "sft"] and "loss_weights"',
    "fp16_backend": "remove it: torch's automatic mixed precision is always used",
    "half_precision_backend": "remove it: torch's automatic mixed precision is always used",
    "fp16_opt_level": "remove it: it belonged to apex",
    "ray_scope": "remove it",
    "tpu_num_cores": "remove it",
    "tpu_metrics_debug": "remove it",
    "use_ipex": "remove it",
    "use_mps_device": "remove it: the device is chosen automatically",
    "jit_mode_eval": "remove it",
    "torchdynamo": 'set "torch_compile_backend"',
    "past_index": "remove it",
    "mp_parameters": "remove it",
    "sharded_ddp": 'set "fsdp_config"',
    "fsdp_min_num_params": 'set "min_num_params" in "fsdp_config"',
    "fsdp_transformer_layer_cls_to_wrap": 'set "transformer_layer_cls_to_wrap" in "fsdp_config"',
    "push_to_hub_organization": 'set "hub_model_id": "organisation/name"',
    "use_legacy_prediction_loop": "remove it",
    "predict_with_generate": 'remove it: dataset.task_type "generation" generates',
}

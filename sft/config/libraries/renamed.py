"""Arguments of older trainers (transformers 4, TRL 0.x), and what became of them. Data only.

A test holds that none of the old names is an argument of the installed version, and that every new one is. Beside
them stand the arguments that a config gives elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

# Another name, the same value.
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

# Another name and another value; `translate_trainer_args` knows how.
RESHAPED: Mapping[str, str] = {
    "warmup_ratio": "warmup_steps",
    "group_by_length": "train_sampling_strategy",
    "include_inputs_for_metrics": "include_for_metrics",
    "split_batches": "accelerator_config",
    "dispatch_batches": "accelerator_config",
}

# Another spelling of a value: (argument, old value) -> new value.
RENAMED_VALUES: Mapping[tuple[str, str], str] = {
    ("optim", "adamw_hf"): "adamw_torch",
    ("optim", "adamw_apex_fused"): "adamw_torch_fused",
    ("truncation_mode", "keep_left"): "keep_start",
    ("loss_type", "chunked_nll"): "nll",
}

# Known to the trainer, but said elsewhere in a config; where.
ELSEWHERE: Mapping[str, str] = {
    "seed": "seeds.training (or seed, the whole run's)",
    "data_seed": "seeds.training (or seed, the whole run's)",
}

# Gone; what to do.
REMOVED: Mapping[str, str] = {
    "overwrite_output_dir": "leave it out: each run has its own folder, and nothing else is overwritten",
    "save_safetensors": "leave it out: adapters are always saved as safetensors",
    "adafactor": 'write "optim": "adafactor"',
    "logging_dir": "leave it out and set the environment variable TENSORBOARD_LOGGING_DIR",
    "tokenizer": "leave it out: the tokenizer is the model's",
    "torch_dtype": 'write it as model.model_args.dtype, or "bf16": true',
    "max_prompt_length": "set prompting.max_input_length",
    "max_completion_length": "set prompting.max_output_length",
    "label_pad_token_id": "leave it out: what is not trained on is masked",
    "padding_value": "leave it out: the pad token is the tokenizer's",
    "is_encoder_decoder": "leave it out: models here are causal",
    "generate_during_eval": "leave it out: the trained model is judged after training",
    "num_of_sequences": "leave it out: rows are not packed by characters any more",
    "chars_per_token": "leave it out: rows are not packed by characters any more",
    "dataset_batch_size": "leave it out",
    "rpo_alpha": 'write "loss_type": ["sigmoid", "sft"] and "loss_weights"',
    "fp16_backend": "leave it out: torch's automatic mixed precision is always used",
    "half_precision_backend": "leave it out: torch's automatic mixed precision is always used",
    "fp16_opt_level": "leave it out: it belonged to apex",
    "ray_scope": "leave it out",
    "tpu_num_cores": "leave it out",
    "tpu_metrics_debug": "leave it out",
    "use_ipex": "leave it out",
    "use_mps_device": "leave it out: the device is chosen by itself",
    "jit_mode_eval": "leave it out",
    "torchdynamo": 'write "torch_compile_backend"',
    "past_index": "leave it out",
    "mp_parameters": "leave it out",
    "sharded_ddp": 'write "fsdp_config"',
    "fsdp_min_num_params": 'write it into "fsdp_config" as "min_num_params"',
    "fsdp_transformer_layer_cls_to_wrap": 'write it into "fsdp_config" as "transformer_layer_cls_to_wrap"',
    "push_to_hub_organization": 'write "hub_model_id": "organisation/name"',
    "use_legacy_prediction_loop": "leave it out",
    "predict_with_generate": 'leave it out: dataset.task_type "generation" generates',
}

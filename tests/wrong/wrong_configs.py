"""Wrong configs, as users write them: each must end with one clear line and exit code 2.

A case changes the working config of `make_config`; what it needs on disk it writes into the folder that it is given.
"""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Config = dict[str, Any]
Case = Callable[[Config, Path], None]

GENERATION: Mapping[str, Any] = {"dataset": {"task_type": "generation"}, "prompting": {"max_output_length": 8}}
ZERO_SHOT: Mapping[str, Any] = {"dataset": {"shots": 0}}


def merge(config: Config, changes: Mapping[str, Any]) -> None:
    """Put nested changes into a config."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = value


def changed(changes: Mapping[str, Any], *further: Mapping[str, Any]) -> Case:
    """Return a case that only changes keys."""

    def case(config: Config, folder: Path) -> None:
        for one in (*further, changes):
            merge(config, one)

    return case


def at(path: str, value: Any, *further: Mapping[str, Any]) -> Case:
    """Return a case that sets one key, by its dotted path."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return changed(value, *further)


def data(name: str, content: bytes) -> Case:
    """Return a case whose data set is one file."""

    def case(config: Config, folder: Path) -> None:
        (folder / name).write_bytes(content)
        config["dataset"] |= {"path": str(folder / name), "shots": 0}

    return case


def model_file(name: str, content: bytes | None, **changes: Any) -> Case:
    """Return a case whose model has one wrong file (None: absent), or a config.json with changed keys."""

    def case(config: Config, folder: Path) -> None:
        copy = folder / "model"
        shutil.copytree(config["model"]["name"], copy)
        if content is None:
            (copy / name).unlink()
        elif changes:
            (copy / name).write_text(json.dumps(json.loads((copy / name).read_text()) | changes))
        else:
            (copy / name).write_bytes(content)
        merge(config, {"model": {"name": str(copy)}, **ZERO_SHOT})

    return case


def template(text: str) -> Case:
    """Return a case whose model has another chat template."""
    return model_file("chat_template.jinja", text.encode())


def adapter_file(name: str, content: bytes) -> Case:
    """Return a case whose adapter folder has a file with this content and the config of a plain LoRA."""

    def case(config: Config, folder: Path) -> None:
        adapter = folder / "adapter"
        adapter.mkdir()
        (adapter / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"})
        )
        (adapter / name).write_bytes(content)
        merge(config, {"model": {"adapter": str(adapter)}, **ZERO_SHOT})

    return case


def plugin(path: str, source: str, *further: Mapping[str, Any], name: str = "mine:it", several: bool = False) -> Case:
    """Return a case that names a plugin in a module next to the config."""

    def case(config: Config, folder: Path) -> None:
        (folder / "mine.py").write_text(source)
        at(path, [name] if several else name, *further)(config, folder)

    return case


class Marker:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("open('executed', 'w').close()",))


PICKLED = pickle.dumps(Marker())
BRACKETS = b"[" * 100_000
TRAINER = "training.trainer_args."
GENERATE = "inference.generation_args."
ARGUMENT = "model.model_args."

CASES: dict[str, Case] = {
    # data: files
    "data h5": data("rows.h5", b"\x89HDF\r\n\x1a\n" + bytes(100)),
    "data pth": data("rows.pth", PICKLED),
    "data pkl": data("rows.pkl", PICKLED),
    "data pickle": data("rows.pickle", PICKLED),
    "data npz": data("rows.npz", b"PK\x03\x04" + bytes(100)),
    "data npy": data("rows.npy", b"\x93NUMPY" + bytes(100)),
    "data xlsx": data("rows.xlsx", b"PK\x03\x04" + bytes(100)),
    "data sqlite": data("rows.sqlite", b"SQLite format 3\x00" + bytes(100)),
    "data feather": data("rows.feather", b"FEA1" + bytes(100)),
    "data orc": data("rows.orc", b"ORC" + bytes(100)),
    "data tar": data("rows.tar", bytes(10240)),
    "data py": data("rows.py", b"open('executed', 'w')"),
    "data no suffix": data("rows", b"text,label\na,bad\n"),
    "data binary csv": data("rows.csv", bytes(range(256))),
    "data utf-16 csv": data("rows.csv", "text,label\na,bad\n".encode("utf-16")),
    "data empty csv": data("rows.csv", b""),
    "data header only": data("rows.csv", b"text,label\n"),
    "data bad gz": data("rows.csv.gz", b"\x1f\x8b" + bytes(30)),
    "data gz of junk": data("rows.csv.gz", gzip.compress(bytes(range(256)))),
    "data bad parquet": data("rows.parquet", b"PAR1" + bytes(40) + b"PAR1"),
    "data bad arrow": data("rows.arrow", b"ARROW1" + bytes(40)),
    "data brackets": data("rows.json", BRACKETS),
    "data jsonl of numbers": data("rows.jsonl", b"1\n2\n3\n"),
    "data nested json": data("rows.jsonl", b'{"text": {"a": [1, 2]}, "label": "bad"}\n'),
    "data null labels": data("rows.jsonl", b'{"text": "a", "label": null}\n{"text": "b", "label": null}\n'),
    "data absent": at("dataset.path", "/no/such/folder"),
    "data bad protocol": at("dataset.path", "nope://bucket/rows.csv"),
    "data s3 without package": at("dataset.path", "s3://bucket/rows.csv"),
    "data http unreachable": at("dataset.path", "http://127.0.0.1:9/rows.csv"),
    "data hub offline": at("dataset.path", "no-such-user/no-such-data"),
    # data: arguments
    "streaming": at("dataset.args.streaming", True),
    "features": at("dataset.args.features", {"text": "string"}),
    "features text": at("dataset.args.features", "text"),
    "data_files absent": at("dataset.args.data_files", {"train": "nope.csv"}),
    "data_files number": at("dataset.args.data_files", 3),
    "args split": at("dataset.args.split", "train"),
    "args name": at("dataset.args.name", "nope"),
    "args unknown": at("dataset.args.nope", 1),
    "args num_proc": at("dataset.args.num_proc", -1),
    "args cache_dir": at("dataset.args.cache_dir", "/dev/null/x"),
    "args trust_remote_code": at("dataset.args.trust_remote_code", True),
    "args encoding": at("dataset.args.encoding", "no-such-encoding"),
    "args sep": at("dataset.args.sep", ""),
    "args download_config": at("dataset.args.download_config", {"a": 1}),
    "args verification_mode": at("dataset.args.verification_mode", "nope"),
    "args storage_options": at("dataset.args.storage_options", 3),
    "args data_dir": at("dataset.args.data_dir", "nope"),
    "train split absent": at("dataset.train_split", "nope"),
    "test split absent": at("dataset.test_split", "nope"),
    "split slice": at("dataset.test_split", "test[:x]"),
    "split percent": at("dataset.test_split", "test[:200%]"),
    "split empty": at("dataset.test_split", "test[5:5]"),
    "split sum": at("dataset.test_split", "test+"),
    "validation absent": at("dataset.validation_split", "nope"),
    "task type": at("dataset.task_type", "sentiment"),
    "shots below": at("dataset.shots", -1),
    "shots float": at("dataset.shots", 1.5),
    "shots word": at("dataset.shots", "many"),
    "shots huge": at("dataset.shots", 10**30),
    "max_n_test 0": at("dataset.max_n_test", 0),
    "labels none": at("dataset.labels", []),
    "labels twice": at("dataset.labels", ["bad", "bad", "fine"]),
    "labels unknown": at("dataset.labels", ["x", "y"]),
    "labels null": at("dataset.labels", [None, "a"]),
    # the model's files
    "model absent": at("model.name", "/no/such/model"),
    "model hub offline": at("model.name", "no-such-user/no-such-model"),
    "model traversal": at("model.name", "../../../etc"),
    "model empty name": at("model.name", ""),
    "model null byte": at("model.name", "a\0b"),
    "config absent": model_file("config.json", None),
    "config broken": model_file("config.json", b"{"),
    "config list": model_file("config.json", b"[1]"),
    "config brackets": model_file("config.json", BRACKETS),
    "config binary": model_file("config.json", bytes(range(256))),
    "config bert": model_file("config.json", b"", model_type="bert"),
    "config unknown": model_file("config.json", b"", model_type="no_such_type"),
    "config no type": model_file("config.json", b'{"hidden_size": 8}'),
    "config negative": model_file("config.json", b"", hidden_size=-32),
    "config other size": model_file("config.json", b"", hidden_size=64),
    "config layers text": model_file("config.json", b"", num_hidden_layers="two"),
    "config more layers": model_file("config.json", b"", num_hidden_layers=3),
    "config bad dtype": model_file("config.json", b"", dtype="float99"),
    "config bad activation": model_file("config.json", b"", hidden_act="nope"),
    "config bad rope": model_file("config.json", b"", rope_parameters={"rope_type": "nope", "rope_theta": 1e4}),
    "config quantization": model_file("config.json", b"", quantization_config={"quant_method": "nope"}),
    "config quantization gptq": model_file("config.json", b"", quantization_config={"quant_method": "gptq", "bits": 4}),
    "config auto_map": model_file("config.json", b"", auto_map={"AutoConfig": "evil.Config"}, model_type="evil"),
    "weights absent": model_file("model.safetensors", None),
    "weights cut": model_file("model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"),
    "weights header": model_file("model.safetensors", b"\xff" * 100),
    "weights empty": model_file("model.safetensors", b""),
    "tokenizer absent": model_file("tokenizer_config.json", None),
    "tokenizer broken": model_file("tokenizer.json", b"{"),
    "tokenizer list": model_file("tokenizer.json", b"[]"),
    "tokenizer brackets": model_file("tokenizer.json", BRACKETS),
    "tokenizer config broken": model_file("tokenizer_config.json", b"{"),
    "tokenizer config list": model_file("tokenizer_config.json", b"[]"),
    "tokenizer json absent": model_file("tokenizer.json", None),
    "generation config broken": model_file("generation_config.json", b"{"),
    "generation config list": model_file("generation_config.json", b"[]"),
    "vocabulary too small": model_file("config.json", b"", vocab_size=10),
    # templates
    "template syntax": template("{% for %}"),
    "template undefined": template("{{ nope.attribute }}"),
    "template raises": template("{{ raise_exception('no') }}"),
    "template recursive": template("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
    "template endless": template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}x"),
    "template endless list": template(
        "{% set a = namespace(x=[1]) %}{% for i in range(99999) %}{% set a.x = a.x + a.x %}{% endfor %}x"
    ),
    "template grows": template("{{ 'a' * 99999999999 }}"),
    "template grows slowly": template("{% for a in range(99999) %}{{ messages[0].content * 9999 }}{% endfor %}"),
    "template power": template("{{ 9 ** 9 ** 9 }}"),
    "template power of power": template("{{ 9 ** (9 ** 9) }}"),
    "template include": template("{% include '/etc/passwd' %}"),
    "template import": template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "template constant": template("hello"),
    "template no content": template("{% for m in messages %}{{ m.role }}{% endfor %}"),
    "template brackets": template("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"),
    "template filter": template("{{ messages | no_such_filter }}"),
    "template divides": template("{{ 1 / 0 }}"),
    "template type": template("{{ 1 + 'a' }}"),
    "template kwargs": at("prompting.chat_template_kwargs", {"messages": []}),
    "template kwargs tokenize": at("prompting.chat_template_kwargs", {"tokenize": False}),
    # the model's arguments
    "argument unknown": at(ARGUMENT + "nope", 1),
    "argument config": at(ARGUMENT + "config", {"hidden_size": 8}),
    "argument config path": at(ARGUMENT + "config", "/no/such"),
    "argument state_dict": at(ARGUMENT + "state_dict", {}),
    "argument dtype": at(ARGUMENT + "torch_dtype", "float99"),
    "argument dtype int": at(ARGUMENT + "torch_dtype", "int8"),
    "argument dtype number": at(ARGUMENT + "dtype", 16),
    "argument device_map": at(ARGUMENT + "device_map", "moon"),
    "argument device_map cuda": at(ARGUMENT + "device_map", "cuda:7"),
    "argument max_memory": at(ARGUMENT + "max_memory", "much"),
    "argument attention": at(ARGUMENT + "attn_implementation", "nope"),
    "argument flash": at(ARGUMENT + "attn_implementation", "flash_attention_2"),
    "argument kernel": at(ARGUMENT + "attn_implementation", "some-org/kernel"),
    "argument revision": at(ARGUMENT + "revision", 3),
    "argument subfolder": at(ARGUMENT + "subfolder", "nope"),
    "argument variant": at(ARGUMENT + "variant", "nope"),
    "argument gguf": at(ARGUMENT + "gguf_file", "nope.gguf"),
    "argument adapter_kwargs": at(ARGUMENT + "adapter_kwargs", {"a": 1}),
    "argument adapter_name": at(ARGUMENT + "adapter_name", "x"),
    "argument quantization_config": at(ARGUMENT + "quantization_config", {"load_in_4bit": True}),
    "argument load_in_4bit": at(ARGUMENT + "load_in_4bit", True),
    "argument tp_plan": at(ARGUMENT + "tp_plan", "auto"),
    "argument key_mapping": at(ARGUMENT + "key_mapping", {"(": "x"}),
    "argument use_safetensors": at(ARGUMENT + "use_safetensors", "x"),
    "argument from_tf": at(ARGUMENT + "from_tf", True),
    "argument parallelize": at(ARGUMENT + "parallelize", "yes"),
    "argument no_split text": at(ARGUMENT + "no_split_module_classes", "Nope"),
    "argument output_loading_info": at(ARGUMENT + "output_loading_info", True),
    "argument return_dict": at(ARGUMENT + "return_unused_kwargs", True),
    "argument distributed_config": at(ARGUMENT + "distributed_config", {"enable_expert_parallel": True}),
    "argument offload": at(ARGUMENT + "offload_folder", 3),
    "argument trust": at(ARGUMENT + "trust_remote_code", "true"),
    "argument hidden_size": at(ARGUMENT + "hidden_size", 8),
    "argument weights_only": at(ARGUMENT + "weights_only", False),
    "chat_template_from absent": at("model.chat_template_from", "/no/such"),
    "tokenizer_name absent": at("inference.tokenizer_name", "/no/such"),
    "quantization class": at("model.quantization", {"config_class": "NopeConfig", "args": {}}),
    "quantization args": at("model.quantization", {"config_class": "BitsAndBytesConfig", "args": {"nope": 1}}),
    "quantization both": at(
        "model.quantization",
        {"config_class": "BitsAndBytesConfig", "args": {"load_in_4bit": True, "load_in_8bit": True}},
    ),
    "quantization dtype": at(
        "model.quantization",
        {
            "config_class": "BitsAndBytesConfig",
            "args": {"load_in_4bit": True, "bnb_4bit_compute_dtype": "float99"},
        },
    ),
    "quantization type": at(
        "model.quantization",
        {"config_class": "BitsAndBytesConfig", "args": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf5"}},
    ),
    # adapters
    "adapter absent": at("model.adapter", "/no/such", ZERO_SHOT),
    "adapter pickled": adapter_file("adapter_model.bin", PICKLED),
    "adapter without weights": adapter_file("other", b""),
    "adapter cut": adapter_file("adapter_model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"),
    "adapter kind": adapter_file("adapter_config.json", b'{"peft_type": "NOPE"}'),
    "adapter brackets": adapter_file("adapter_config.json", BRACKETS),
    "adapter list": adapter_file("adapter_config.json", b"[]"),
    "adapter targets": adapter_file(
        "adapter_config.json", b'{"peft_type": "LORA", "r": 2, "target_modules": ["nope"], "task_type": "CAUSAL_LM"}'
    ),
    "adapter task": adapter_file("adapter_config.json", b'{"peft_type": "LORA", "target_modules": ["q_proj"]}'),
    "lora r 0": at("lora.r", 0),
    "lora r text": at("lora.r", "8"),
    "lora r huge": at("lora.r", 10**9),
    "lora rank": at("lora.rank", 8),
    "lora alpha": at("lora.lora_alpha", "x"),
    "lora dropout": at("lora.lora_dropout", 2),
    "lora targets": at("lora.target_modules", ["nope"]),
    "lora no targets": at("lora.target_modules", []),
    "lora regex": at("lora.target_modules", "("),
    "lora regex of nothing": at("lora.target_modules", "nope.*"),
    "lora number": at("lora.target_modules", 3),
    "lora head": at("lora.target_modules", ["lm_head", "q_proj"]),
    "lora norm": at("lora.target_modules", ["norm"]),
    "lora layers": at("lora.layers_to_transform", 99, {"lora": {"target_modules": ["q_proj"]}}),
    "lora layers all-linear": at("lora.layers_to_transform", [0]),
    "lora pattern": changed(
        {"lora": {"layers_pattern": "nope", "target_modules": ["q_proj"], "layers_to_transform": [0]}}
    ),
    "lora save": at("lora.modules_to_save", ["nope"]),
    "lora bias": at("lora.bias", "some"),
    "lora task": at("lora.task_type", "SEQ_CLS"),
    "lora exclude": at("lora.exclude_modules", ".*_proj"),
    "lora one of two": at("lora.target_modules", ["q_proj", "v_porj"]),
    "lora rank_pattern": at("lora.rank_pattern", {"q_proj": 0}),
    "lora rank_pattern text": at("lora.rank_pattern", {"q_proj": "x"}),
    "lora replication": at("lora.layer_replication", [[0, 99]]),
    "lora tokens": at("lora.trainable_token_indices", [10**9]),
    "lora parameters": at("lora.target_parameters", ["nope"]),
    "lora megatron": at("lora.megatron_config", {"a": 1}),
    "lora loftq": at("lora.loftq_config", {"loftq_bits": 99}, {"lora": {"init_lora_weights": "loftq"}}),
    "lora init": at("lora.init_lora_weights", "pcaa"),
    "plugin dots": at("lora.init_lora_weights", "..x:f"),
    "plugin no function": at("lora.init_lora_weights", "json:"),
    "plugin no module": at("lora.init_lora_weights", ":f"),
    "plugin absent": at("lora.init_lora_weights", "no_such_module:f"),
    "plugin absent function": at("lora.init_lora_weights", "json:nope"),
    "plugin two colons": at("lora.init_lora_weights", "a:b:c"),
    "plugin spaces": at("lora.init_lora_weights", "a b:c"),
    "plugin path": at("lora.init_lora_weights", "./mine.py:it"),
    "plugin not callable": plugin("lora.init_lora_weights", "it = 3\n"),
    "plugin syntax": plugin("lora.init_lora_weights", "def it(:\n"),
    "plugin raises": plugin("lora.init_lora_weights", "raise RuntimeError('no')\n"),
    "plugin exits": plugin("lora.init_lora_weights", "raise SystemExit(3)\n"),
    "plugin imports": plugin("lora.init_lora_weights", "import no_such_package\n"),
    "plugin recursion": plugin("lora.init_lora_weights", "def f(): f()\nf()\n"),
    "plugin arguments": plugin("lora.init_lora_weights", "def it(): pass\n"),
    "method unknown": at("training.method", "sfft"),
    "method plugin": at("training.method", "..x:f"),
    "metric plugin": at("evaluation.metrics", ["..x:f"], ZERO_SHOT),
    "calibration plugin": at("inference.calibration_args", {"calibration_fn": "..x:f"}, ZERO_SHOT),
    "adapter type": at("adapter", {"peft_type": "NOPE"}, {"lora": None}),
    "adapter prompt": at("adapter", {"peft_type": "PROMPT_TUNING"}, {"lora": None}),
    "adapter ia3": at("adapter", {"peft_type": "IA3", "target_modules": ["nope"]}, {"lora": None}),
    "adapter and lora": at("adapter", {"peft_type": "IA3"}),
    # training
    "trainer unknown": at(TRAINER + "nope", 1),
    "trainer resume": at(TRAINER + "resume_from_checkpoint", "/no/such"),
    "trainer deepspeed": at(TRAINER + "deepspeed", "/no/such.json"),
    "trainer deepspeed object": at(TRAINER + "deepspeed", {"zero_optimization": {"stage": 3}}),
    "trainer fsdp": at(TRAINER + "fsdp", "full_shard"),
    "trainer push": at(TRAINER + "push_to_hub", True),
    "trainer chat_template_path": at(TRAINER + "chat_template_path", "/no/such"),
    "trainer pad_to_multiple_of": at(TRAINER + "pad_to_multiple_of", 8),
    "trainer shuffle": at(TRAINER + "shuffle_dataset", True),
    "trainer optim": at(TRAINER + "optim", "nope"),
    "trainer optim package": at(TRAINER + "optim", "galore_adamw"),
    "trainer optim args": at(TRAINER + "optim_args", "nope"),
    "trainer scheduler": at(TRAINER + "lr_scheduler_type", "nope"),
    "trainer scheduler args": at(TRAINER + "lr_scheduler_kwargs", {"nope": 1}),
    "trainer report_to": at(TRAINER + "report_to", "nope"),
    "trainer report_to wandb": at(TRAINER + "report_to", "wandb"),
    "trainer output": at(TRAINER + "output_dir", "/dev/null/x"),
    "trainer fp16": at(TRAINER + "fp16", True),
    "trainer both": changed({"training": {"trainer_args": {"fp16": True, "bf16": True}}}),
    "trainer steps": at(TRAINER + "max_steps", 0),
    "trainer rate": at(TRAINER + "learning_rate", -1),
    "trainer rate text": at(TRAINER + "learning_rate", "high"),
    "trainer rate huge": at(TRAINER + "learning_rate", 1e300),
    "trainer accumulate": at(TRAINER + "gradient_accumulation_steps", 0),
    "trainer strategy": at(TRAINER + "save_strategy", "sometimes"),
    "trainer eval": at(TRAINER + "eval_strategy", "steps"),
    "trainer best": at(TRAINER + "load_best_model_at_end", True),
    "trainer accelerator": at(TRAINER + "accelerator_config", "/no/such.json"),
    "trainer accelerator object": at(TRAINER + "accelerator_config", {"nope": 1}),
    "trainer liger": at(TRAINER + "use_liger_kernel", True),
    "trainer model_init": at(TRAINER + "model_init_kwargs", {"nope": 1}),
    "trainer dataset_kwargs": at(TRAINER + "dataset_kwargs", {"skip_prepare_dataset": False}),
    "trainer eos": at(TRAINER + "eos_token", "nope"),
    "trainer pad": at(TRAINER + "pad_token", "nope"),
    "trainer checkpointing": at(
        TRAINER + "gradient_checkpointing_kwargs",
        {"nope": 1},
        {"training": {"trainer_args": {"gradient_checkpointing": True}}},
    ),
    "trainer loss": at(TRAINER + "loss_type", "nope"),
    "trainer workers": at(TRAINER + "dataloader_num_workers", -1),
    "trainer compile": at(TRAINER + "torch_compile_backend", "nope"),
    "trainer debug": at(TRAINER + "debug", "nope"),
    "trainer length": at(TRAINER + "max_length", 1),
    "trainer galore": at(TRAINER + "optim_target_modules", 3),
    "trainer ddp": at(TRAINER + "ddp_backend", "nope"),
    "trainer parallelism": at(TRAINER + "parallelism_config", {"a": 1}),
    "trainer neftune": at(TRAINER + "neftune_noise_alpha", -1),
    "trainer seed": at(TRAINER + "seed", 3),
    "trainer warmup": at(TRAINER + "warmup_ratio", 3),
    "trainer batch": at(TRAINER + "per_device_train_batch_size", 0),
    "trainer local_rank": at(TRAINER + "local_rank", 3),
    "training icl": at("training.icl_examples", 10**9),
    "training validation": at("training.validation_size", 6),
    # prompts
    "columns none": at("prompting.input_columns", []),
    "column absent": at("prompting.input_columns", ["nope"]),
    "output absent": at("prompting.output_column", "nope"),
    "length 0": at("prompting.max_input_length", 0),
    "verbalizer lacks": at("prompting.verbalizers", {"bad": "x"}),
    "verbalizer same": at("prompting.verbalizers", {"bad": "x", "fine": "x", "good": "y"}),
    "verbalizer empty": at("prompting.verbalizers", {"bad": "", "fine": "x", "good": "y"}),
    # inference
    "batch 0": at("inference.batch_size", 0),
    "length 1": at("inference.max_seq_length", 1),
    "length huge": at("inference.max_seq_length", 10**30),
    "icl pool": at("inference.icl_pool", "nope"),
    "scoring": at("inference.label_scoring", "max"),
    "calibration": at("inference.calibration_args", {"calibration_fn": "nope"}),
    "generate unknown": at(GENERATE + "nope", 1, GENERATION),
    "generate temperature": at(GENERATE + "temperature", "hot", GENERATION),
    "generate temperature 0": changed(
        {"inference": {"generation_args": {"temperature": 0.0, "do_sample": True}}}, GENERATION, ZERO_SHOT
    ),
    "generate beams": at(GENERATE + "num_beams", 0, GENERATION),
    "generate new tokens": at(GENERATE + "max_new_tokens", 0, GENERATION),
    "generate top_p": at(GENERATE + "top_p", 3, GENERATION),
    "generate eos": at(GENERATE + "eos_token_id", "x", GENERATION, ZERO_SHOT),
    "generate bad words": at(GENERATE + "bad_words_ids", [["x"]], GENERATION, ZERO_SHOT),
    "generate bias": at(GENERATE + "sequence_bias", {"x": 1}, GENERATION, ZERO_SHOT),
    "generate cache": at(GENERATE + "cache_implementation", "nope", GENERATION, ZERO_SHOT),
    "generate custom": at(GENERATE + "custom_generate", "some-org/code", GENERATION, ZERO_SHOT),
    "generate contrastive": at(GENERATE + "penalty_alpha", 0.5, GENERATION, ZERO_SHOT),
    "generate groups": changed(
        {"inference": {"generation_args": {"num_beams": 3, "num_beam_groups": 2}}}, GENERATION, ZERO_SHOT
    ),
    "generate constraints": at(GENERATE + "force_words_ids", [[3]], GENERATION, ZERO_SHOT),
    "generate guidance": at(GENERATE + "guidance_scale", "x", GENERATION, ZERO_SHOT),
    "generate watermark": at(GENERATE + "watermarking_config", {"nope": 1}, GENERATION, ZERO_SHOT),
    "generate assistant": at(GENERATE + "prompt_lookup_num_tokens", -1, GENERATION, ZERO_SHOT),
    "generate dola": at(GENERATE + "dola_layers", "nope", GENERATION, ZERO_SHOT),
    "generate repetition": at(GENERATE + "repetition_penalty", -1.0, GENERATION, ZERO_SHOT),
    "generate lengths": changed(
        {"inference": {"generation_args": {"min_new_tokens": 9, "max_new_tokens": 3}}}, GENERATION, ZERO_SHOT
    ),
    "stop strings": at("inference.stop_strings", [""], GENERATION),
    "constrain": at("inference.constrain", {"regex": "("}, GENERATION, ZERO_SHOT),
    "constrain schema": at("inference.constrain", {"json_schema": {"type": "nope"}}, GENERATION, ZERO_SHOT),
    # evaluation
    "metric unknown": at("evaluation.metrics", ["acuracy"], ZERO_SHOT),
    "metric raises": plugin("evaluation.metrics", "def it(*a, **k): raise ValueError('no')\n", ZERO_SHOT, several=True),
    "metric text": plugin("evaluation.metrics", "def it(*a, **k): return 'high'\n", ZERO_SHOT, several=True),
    "metric script absent": at("evaluation.metrics", ["evaluate:./nope"], ZERO_SHOT),
    "metric script bare": at("evaluation.metrics", ["evaluate:"], ZERO_SHOT),
    "ece bins": at("evaluation.ece_bins", 0),
    "segmenter absent": at("evaluation.tokenizer_name", "/no/such", GENERATION, ZERO_SHOT),
    "harness task": at("evaluation.lm_eval", {"tasks": ["no_such_task"]}, ZERO_SHOT),
    # the whole
    "seed text": at("seed", "x"),
    "seed below": at("seed", -1),
    "seed huge": at("seed", 10**30),
    "section list": at("model", []),
    "section null": at("dataset", None),
    "section text": at("prompting", "x"),
    "unknown section": at("modle", {}),
    "deep": at("description", [[[[[[[[[[[[]]]]]]]]]]]]),
}  # fmt: skip

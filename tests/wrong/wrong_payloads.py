"""Files and configs that would run code if they were trusted. None names a plugin of the user.

Each writes the file `executed` into its own folder. What happens else (one line, or a run that ignores it) is free.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wrong_configs import GENERATE, TRAINER, ZERO_SHOT, Config, at, changed, data, merge, model_file

Payload = Callable[[Config, Path], None]


class Bomb:
    """Runs code when it is read from a pickle."""

    def __init__(self, folder: Path) -> None:
        self._code = code(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (self._code,))


def code(folder: Path) -> str:
    """Return Python code that writes a file."""
    return f"open({str(folder / 'executed')!r}, 'w').close()"


def module(folder: Path, name: str = "evil.py") -> None:
    """Write a module that runs as soon as it is imported."""
    names = ("Config", "Model", "Tokenizer", "main", "Evil", "it", "generate", "get_kernel")
    body = "\n".join(f"class {each}:\n    pass" for each in names)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{code(folder if folder.name != 'model' else folder.parent)}\n{body}\n")


def with_model(**files: Any) -> Payload:
    """A model with further files (`name__suffix`), each made from the folder; keys of config.json are in `config`."""

    def payload(config: Config, folder: Path) -> None:
        changes = files.get("config", {})
        model_file("config.json", b"", **{"use_cache": True, **changes})(config, folder)
        copy = folder / "model"
        for name in ("evil.py", "modeling_evil.py", "custom_generate/generate.py", "tokenization_evil.py"):
            module(copy, name)
        for name, made in files.items():
            if name != "config":
                (copy / name.replace("__", ".")).write_bytes(made(folder))

    return payload


def bomb(folder: Path) -> bytes:
    return pickle.dumps(Bomb(folder))


def torch_bomb(folder: Path) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"a": Bomb(folder)}, file)
    return file.getvalue()


def without_safetensors(name: str, made: Callable[[Path], bytes]) -> Payload:
    def payload(config: Config, folder: Path) -> None:
        with_model(**{name: made})(config, folder)
        (folder / "model" / "model.safetensors").unlink()

    return payload


def with_adapter(weights: str, made: Callable[[Path], bytes], **keys: Any) -> Payload:
    def payload(config: Config, folder: Path) -> None:
        adapter = folder / "adapter"
        adapter.mkdir()
        described = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **keys}
        (adapter / "adapter_config.json").write_text(json.dumps(described))
        (adapter / weights).write_bytes(made(folder))
        module(folder)
        merge(config, {"model": {"adapter": str(adapter)}, **ZERO_SHOT})

    return payload


def template(expression: str) -> Payload:
    """A chat template that reaches for the interpreter and shows the turns as well."""

    def payload(config: Config, folder: Path) -> None:
        turns = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        command = f"touch {folder / 'executed'}"
        text = expression.replace("COMMAND", command).replace("CODE", code(folder))
        model_file("chat_template.jinja", (text + turns).encode())(config, folder)

    return payload


def text_everywhere(text: str) -> Payload:
    """Return a payload with a template in the data, the labels, the instruction and the verbalizers."""

    def payload(config: Config, folder: Path) -> None:
        filled = text.replace("COMMAND", f"touch {folder / 'executed'}").replace("CODE", code(folder))
        rows = [{"text": filled, "label": filled + "1"}, {"text": filled, "label": filled + "2"}]
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        merge(config, {"dataset": {"path": str(folder / "rows.jsonl"), "shots": 0, "test_split": "train"}})
        merge(config, {"prompting": {"instruction": filled}, "name": filled[:60]})

    return payload


def data_folder(**files: Callable[[Path], bytes]) -> Payload:
    """A folder of data with good rows and further files."""

    def payload(config: Config, folder: Path) -> None:
        data = folder / "data"
        data.mkdir()
        for split in ("train", "test"):
            (data / f"{split}.csv").write_text("text,label\na,bad\nb,fine\n")
        for name, made in files.items():
            file = data / name.replace("___", "/").replace("__", ".")
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(made(folder))
        merge(config, {"dataset": {"path": str(data), "shots": 0}})

    return payload


def source(folder: Path) -> bytes:
    return code(folder).encode()


def yaml_bomb(folder: Path) -> bytes:
    return f'---\na: !!python/object/apply:builtins.exec ["""{code(folder)}"""]\n---\n'.encode()


def climbing_tar(folder: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in ("../executed", str(folder / "executed")):
            info = tarfile.TarInfo(name)
            archive.addfile(info, io.BytesIO())
    return file.getvalue()


def lm_eval_task(text: str) -> Payload:
    def payload(config: Config, folder: Path) -> None:
        module(folder)
        filled = text.replace("COMMAND", f"touch {folder / 'executed'}").replace("CODE", code(folder))
        rows = folder / "rows.jsonl"
        rows.write_text('{"text": "a", "label": "b"}\n')
        (folder / "mine.yaml").write_text(
            f"task: mine\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {rows}}}}}\ntest_split: test\n"
            f"output_type: generate_until\n{filled}\n"
        )
        merge(config, {"evaluation": {"lm_eval": {"tasks": [str(folder / "mine.yaml")]}}, **ZERO_SHOT})

    return payload


def beside(*names: str) -> Payload:
    """Return a payload with modules next to the config that have names of installed ones."""

    def payload(config: Config, folder: Path) -> None:
        for name in names:
            module(folder, name)
        merge(config, ZERO_SHOT)

    return payload


def with_module(changes: Mapping[str, Any]) -> Payload:
    """Return a payload that names a module next to the config in a key that takes no plugin."""

    def payload(config: Config, folder: Path) -> None:
        module(folder)
        module(folder, "evil/evil.py")
        changed(changes)(config, folder)

    return payload


def key(path: str, value: Any) -> Payload:
    """`with_module` for one key."""

    def payload(config: Config, folder: Path) -> None:
        with_module({})(config, folder)
        at(path, value)(config, folder)

    return payload


GLOBALS = "__init__.__globals__"
REACHING = {
    "cycler": f"{{{{ cycler.{GLOBALS}.os.popen('COMMAND').read() }}}}",
    "joiner": f"{{{{ joiner.{GLOBALS}.os.popen('COMMAND').read() }}}}",
    "namespace": f"{{{{ namespace.{GLOBALS}.os.popen('COMMAND').read() }}}}",
    "lipsum": "{{ lipsum.__globals__['os'].popen('COMMAND').read() }}",
    "subclasses": "{% for c in ''.__class__.__mro__[1].__subclasses__() %}{{ c('COMMAND', shell=True) }}{% endfor %}",
    "attr": "{{ (cycler|attr('__init__')|attr('__globals__'))['os'].popen('COMMAND').read() }}",
    "format": "{{ '{0.__class__.__mro__}'.format('') }}",
    "format_map": "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "self": "{{ self._TemplateReference__context.environment.from_string('x') }}",
    "exception": "{{ raise_exception.__globals__['__builtins__']['exec']('CODE') }}",
    "strftime": "{{ strftime_now.__globals__['__builtins__']['exec']('CODE') }}",
    "tojson": "{{ (messages|tojson).__class__.__base__.__subclasses__() }}",
    "import": "{% import 'os' as os %}{{ os.system('COMMAND') }}",
    "include": "{% include '/etc/passwd' %}",
    "extends": "{% extends 'evil.py' %}",
    "do": f"{{% set x = cycler.{GLOBALS} %}}{{{{ x.os.system('COMMAND') }}}}",
    "generation": f"{{% generation %}}{{{{ cycler.{GLOBALS}.os.system('COMMAND') }}}}{{% endgeneration %}}",
    "macro": f"{{% macro m() %}}{{{{ caller.{GLOBALS} }}}}{{% endmacro %}}{{% call m() %}}x{{% endcall %}}",
}
AUTO = {
    "AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model",
    "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
}  # fmt: skip

PAYLOADS: dict[str, Payload] = {
    **{f"template {name}": template(text) for name, text in REACHING.items()},
    **{f"data template {name}": text_everywhere(REACHING[name]) for name in ("cycler", "lipsum", "do")},
    "data format": text_everywhere("{0.__class__} %(a)s ${a} `COMMAND` $(COMMAND) ; COMMAND ; | COMMAND"),
    "data html": text_everywhere("<script>CODE</script><img src=x onerror=CODE>"),
    # weights
    "weights pickle": without_safetensors("pytorch_model__bin", bomb),
    "weights torch": without_safetensors("pytorch_model__bin", torch_bomb),
    "weights pt": without_safetensors("model__pt", torch_bomb),
    "weights ckpt": without_safetensors("model__ckpt__index", bomb),
    "weights index": without_safetensors(
        "pytorch_model__bin__index__json",
        lambda _: json.dumps({"metadata": {}, "weight_map": {"a": "../evil.py", "b": "pytorch_model.bin"}}).encode(),
    ),
    "weights flax": without_safetensors("flax_model__msgpack", bomb),
    "training args": with_model(training_args__bin=torch_bomb, optimizer__pt=torch_bomb, scheduler__pt=torch_bomb),
    "adapter pickle": with_adapter("adapter_model.bin", bomb),
    "adapter torch": with_adapter("adapter_model.bin", torch_bomb),
    "adapter auto_mapping": with_adapter(
        "adapter_model.bin", torch_bomb, auto_mapping={"base_model_class": "Evil", "parent_library": "evil"}
    ),
    "adapter megatron": with_adapter("adapter_model.bin", torch_bomb, megatron_config={"a": 1}, megatron_core="evil"),
    "adapter type": with_adapter("adapter_model.bin", torch_bomb, peft_type="evil"),
    "adapter init": with_adapter("adapter_model.bin", torch_bomb, init_lora_weights="evil:it"),
    "adapter base": with_adapter("adapter_model.bin", torch_bomb, base_model_name_or_path="evil"),
    "adapter corda": with_adapter("adapter_model.bin", torch_bomb, corda_config={"cache_file": "adapter_model.bin"}),
    # the model's config and tokenizer
    "auto_map": with_model(config={"auto_map": AUTO}),
    "auto_map unknown type": with_model(config={"auto_map": AUTO, "model_type": "evil"}),
    "auto_map of a repository": with_model(config={"auto_map": {"AutoConfig": "org/repo--evil.Config"}}),
    "architectures": with_model(config={"architectures": ["evil.Model", "os.system"]}),
    "model type a path": with_model(config={"model_type": "../evil"}),
    "dtype": with_model(config={"dtype": "evil.Model", "torch_dtype": "os.system"}),
    "activation": with_model(config={"hidden_act": "evil.Model"}),
    "attention": with_model(config={"_attn_implementation": "org/kernel", "attn_implementation": "org/kernel"}),
    "attention internal": with_model(config={"_attn_implementation_internal": "org/kernel"}),
    "kernels": with_model(config={"use_kernels": True, "kernel_config": {"RMSNorm": "org/kernel:Evil"}}),
    "custom pipelines": with_model(config={"custom_pipelines": {"a": {"impl": "evil.Model"}}}),
    "trust in the model": with_model(config={"trust_remote_code": True, "auto_map": AUTO}),
    "quantiser": with_model(config={"quantization_config": {"quant_method": "evil", "modules": "evil.Model"}}),
    "quantiser bitsandbytes": with_model(
        config={"quantization_config": {"quant_method": "bitsandbytes", "bnb_4bit_compute_dtype": "evil.Model"}}
    ),
    "quantiser torchao": with_model(
        config={"quantization_config": {"quant_method": "torchao", "quant_type": {"default": {"_type": "evil.Model"}}}}
    ),
    "quantiser quanto": with_model(config={"quantization_config": {"quant_method": "quanto", "weights": "evil"}}),
    "generation config": with_model(
        generation_config__json=lambda _: b'{"custom_generate": "org/evil", "trust_remote_code": true}'
    ),
    "custom generate": with_model(config={"custom_generate": "."}),
    "tokenizer class": with_model(
        tokenizer_config__json=lambda _: json.dumps({"tokenizer_class": "Tokenizer", "auto_map": AUTO}).encode()
    ),
    "tokenizer pickle": with_model(tokenizer__pkl=bomb, vocab__pkl=bomb, tokenizer__model=bomb),
    "processor": with_model(processor_config__json=lambda _: json.dumps({"auto_map": AUTO}).encode()),
    # data
    "data pickle": lambda config, folder: data("rows.pkl", bomb(folder))(config, folder),
    "data torch": lambda config, folder: data("rows.pt", torch_bomb(folder))(config, folder),
    "data script": data_folder(data__py=source),
    "data script alone": lambda config, folder: data("data.py", source(folder))(config, folder),
    "data card": data_folder(README__md=yaml_bomb),
    "data yaml": data_folder(_dataset__yaml=yaml_bomb),
    "data infos": data_folder(
        dataset_infos__json=lambda _: json.dumps({"default": {"features": {"text": {"_type": "evil"}}}}).encode()
    ),
    "data saved": data_folder(
        dataset_dict__json=lambda _: b'{"splits": ["train"]}',
        train___state__json=lambda _: b'{"_data_files": [{"filename": "../../evil.py"}], "_format_type": "evil"}',
    ),
    "data tar": lambda config, folder: data("rows.tar.gz", climbing_tar(folder))(config, folder),
    "data folder of pickles": data_folder(train__pkl=bomb, test__pt=torch_bomb),
    # the config
    "trust as text": key("model.model_args.trust_remote_code", "true"),
    "trust as number": key("model.model_args.trust_remote_code", 1),
    "weights only": key("model.model_args.weights_only", False),
    "attention of the hub": key("model.model_args.attn_implementation", "org/kernel"),
    "kernels of the hub": key("model.model_args.use_kernels", True),
    "kernel config": key("model.model_args.kernel_config", {"RMSNorm": "org/kernel:Evil"}),
    "quantiser class": key("model.quantization", {"config_class": "evil.Evil", "args": {}}),
    "quantiser class of os": key("model.quantization", {"config_class": "os.system", "args": {"command": "x"}}),
    "quantiser dtype": key(
        "model.quantization",
        {"config_class": "BitsAndBytesConfig", "args": {"load_in_4bit": True, "bnb_4bit_compute_dtype": "evil.Evil"}},
    ),
    "quantiser torchao of the config": key(
        "model.quantization", {"config_class": "TorchAoConfig", "args": {"quant_type": {"_type": "evil.Evil"}}}
    ),
    "data trusts": key("dataset.args.trust_remote_code", True),
    "data path a module": key("dataset.path", "evil"),
    "data path a script": key("dataset.path", "./evil.py"),
    "metric by name": key("evaluation.metrics", ["evaluate:evil"]),
    "lora megatron": key("lora.megatron_config", {"a": 1}),
    "lora megatron core": changed({"lora": {"megatron_config": {"a": 1}, "megatron_core": "evil"}}),
    "lora corda cache": key("lora.corda_config", {"cache_file": "evil.py"}),
    "deepspeed": key(TRAINER + "deepspeed", "evil.py"),
    "compile backend": key(TRAINER + "torch_compile_backend", "evil"),
    "report_to": key(TRAINER + "report_to", "evil"),
    "optimiser arguments": key(TRAINER + "optim_args", "evil=__import__('evil')"),
    "scheduler arguments": key(TRAINER + "lr_scheduler_kwargs", {"lambda": "__import__('evil')"}),
    "accelerator": key(TRAINER + "accelerator_config", "evil.py"),
    "trainer trusts": key(TRAINER + "trust_remote_code", True),
    "trainer model": key(TRAINER + "model_init_kwargs", {"trust_remote_code": True}),
    "debug": key(TRAINER + "debug", "__import__('evil')"),
    "generate code": key(GENERATE + "custom_generate", "evil"),
    "template variables": key("prompting.chat_template_kwargs", {"tools": ["{{ cycler.__init__ }}"], "x": "!!python"}),
    "names": changed({"name": "../../../evil", "description": "$(touch executed)"}, ZERO_SHOT),
    # lm-eval
    "task function": lm_eval_task("doc_to_text: !function evil.it\ndoc_to_target: label"),
    "task jinja": lm_eval_task(f"doc_to_text: \"{REACHING['cycler']}\"\ndoc_to_target: label"),
    "task yaml": lm_eval_task("doc_to_text: !!python/object/apply:os.system ['COMMAND']\ndoc_to_target: label"),
    "task process": lm_eval_task("doc_to_text: text\ndoc_to_target: label\nprocess_docs: !function evil.it"),
    "task metric": lm_eval_task(
        "doc_to_text: text\ndoc_to_target: label\nmetric_list: [{metric: !function evil.it, aggregation: mean}]"
    ),
    "task class": lm_eval_task("doc_to_text: text\ndoc_to_target: label\nclass: !function evil.Evil"),
    "task data": lm_eval_task("doc_to_text: text\ndoc_to_target: label\ncustom_dataset: !function evil.it"),
    # beside the config
    "modules of installed names": beside(
        "json.py", "torch.py", "transformers.py", "datasets.py", "typing.py", "numpy.py", "peft.py", "trl.py",
    ),
    "modules of sft's names": beside("sft.py", "sft/__init__.py", "registry.py", "config.py"),
    "modules that Python looks for": beside("sitecustomize.py", "usercustomize.py", "antigravity.py", "readline.py"),
    "modules of optional packages": beside("wandb.py", "deepspeed.py", "kernels.py", "liger_kernel.py", "optimum.py"),
}  # fmt: skip

JSONNET = {
    "native": 'std.native("system")("touch executed")',
    "native of Python": 'std.native("eval")("1")',
    "import": 'import "evil.py"',
    "importstr": '{ configs: { a: { dataset: importstr "/etc/shadow" } } }',
    "importbin": 'importbin "/dev/zero"',
    "external": 'std.extVar("PATH")',
    "parse": 'std.parseYaml("a: !!python/object/apply:os.system [touch executed]")',
    "trace": 'std.trace("$(touch executed)", {})',
}

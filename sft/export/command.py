"""The command `export`: its options, the files that it writes, and how to load them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sft.errors import UserError
from sft.export.adapter import write_adapter
from sft.export.hub import push, require_token
from sft.export.source import Trained, find_trained
from sft.io import check_writable
from sft.log import get_logger
from sft.model.saving import ADAPTER_CONFIG, MODEL_CONFIG, check_output_folder
from sft.model.sealed import RECORD, listed_files
from sft.model.tokenizer import load_tokenizer
from sft.protocols import Tokenizer
from sft.steps.provenance import TrainingRecord, of_base

log = get_logger(__name__)

Dtype = Literal["float32", "float16", "bfloat16"]
EXPORTS = Path("exports")


@dataclass(frozen=True)
class ExportRequest:
    """Options of the command line.

    Args:
        run: a run folder, or the folder of an adapter or a whole model.
        merge: whether to merge an adapter into its base.
        dtype: dtype of a whole model's weights; None: the dtype of the loaded base.
        push_to_hub: repository to upload to.
        from_state_dict: state dict of a training, which contains the adapter's weights.
        base_model: Hub id or folder of the base, instead of the one in the adapter's config.
        output_dir: output folder; None: `exports/<name>`.
    """

    run: Path
    merge: bool = False
    dtype: Dtype | None = None
    push_to_hub: str | None = None
    from_state_dict: Path | None = None
    base_model: str | None = None
    output_dir: Path | None = None


@dataclass(frozen=True)
class Exported:
    """The output folder, notes on the export, and the Python code that loads it."""

    folder: Path
    notes: tuple[str, ...]
    loads_by: str


def export(request: ExportRequest) -> Exported:
    """Write the export, and upload it if requested.

    Raises:
        UserError: contradictory options, nothing to export, other files in the folder, or a merged model whose scores
            differ from those of the base with the adapter.
    """
    token = None if request.push_to_hub is None else require_token()
    trained = find_trained(request.run, request.base_model)
    _check(request, trained)
    whole = request.merge or not trained.is_adapter
    folder = request.output_dir or EXPORTS / (f"{trained.name}-merged" if request.merge else trained.name)
    _check_folder(folder, MODEL_CONFIG if whole else ADAPTER_CONFIG)
    tokenizer = _tokenizer(trained)
    notes = (_write_whole if whole else _write_adapter)(request, trained, tokenizer, folder)
    if request.push_to_hub is not None and token is not None:
        if not whole and Path(trained.base.name).exists():
            log.warning("The adapter's base is a local folder (%s); to change it, use --base-model", trained.base.name)
        log.info("Uploading to %s", request.push_to_hub)
        notes = (*notes, f"Uploaded: {push(folder, request.push_to_hub, token)}")
    return Exported(folder, notes, _loads_by(folder, None if whole else trained.base.name))


def _check(request: ExportRequest, trained: Trained) -> None:
    if request.from_state_dict is not None and (request.merge or not trained.is_adapter):
        raise UserError("--from-state-dict creates an adapter; export the adapter first, then merge it")
    if request.merge and not trained.is_adapter:
        raise UserError("--merge: RUN is a whole model already; remove --merge")
    if request.dtype is not None and trained.is_adapter and not request.merge:
        raise UserError("--dtype applies to whole models; add --merge")


def _check_folder(folder: Path, config_name: str) -> None:
    """Raise unless the folder is empty, or contains only an export of the same kind."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output-dir: expected a folder, got the file {folder}")
    ours = {RECORD, *(Path(name).parts[0] for name in listed_files(folder))}
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if others := [name for name in names if name not in ours and not name.startswith(".")]:
        raise UserError(f"--output-dir: {folder} contains other files ({others[0]}); choose an empty or new folder")
    check_output_folder(folder, config_name)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    check_writable(existing, "choose another --output-dir")


def _tokenizer(trained: Trained) -> Tokenizer:
    """Load the tokenizer in the trained folder, with its chat template, else the base's."""
    if (trained.folder / "tokenizer_config.json").exists():
        return load_tokenizer(trained.base.model_copy(update={"name": str(trained.folder), "chat_template_from": None}))
    return load_tokenizer(trained.base)


def _write_adapter(request: ExportRequest, trained: Trained, tokenizer: Tokenizer, folder: Path) -> tuple[str, ...]:
    record = TrainingRecord.in_folder(trained.folder)
    if request.from_state_dict is None:
        obstacle = write_adapter(trained, tokenizer, folder, None if record is None else record.as_dict())
    else:
        from sft.export.state_dict import adapter_from
        from sft.model.saving import save_adapter

        log.info("Reading %s", request.from_state_dict)
        adapted = adapter_from(request.from_state_dict, trained)
        # without a record, as it is unknown whether these weights come from RUN's own training
        obstacle = save_adapter(adapted, tokenizer, folder, trained.base.name)
    return (f"vLLM does not load it as a LoRA: {obstacle}",) if obstacle else ("vLLM loads it as a LoRA",)


def _write_whole(request: ExportRequest, trained: Trained, tokenizer: Tokenizer, folder: Path) -> tuple[str, ...]:
    from sft.export.agreement import probes_for
    from sft.export.merge import write_merged
    from sft.model.load import dtype_of

    probes = probes_for(trained.experiment, tokenizer)
    dtype = request.dtype or str(dtype_of(trained.base)).removeprefix("torch.")
    compared = write_merged(trained, tokenizer, folder, dtype, probes, _record_of_whole(trained))
    notes = (
        [f"Merging changes {probes.description} by at most {compared.merged:.2g} nats"] if trained.is_adapter else []
    )
    if dtype != "float32":
        notes.append(
            f"In {dtype} instead of float32, {probes.description} change by at most {compared.written:.2g} nats"
        )
    if compared.quantized is not None:
        notes.append(
            f"Compared with the quantised base, {probes.description} change by at most {compared.quantized:.2g} nats"
        )
    return tuple(notes)


def _record_of_whole(trained: Trained) -> dict[str, Any] | None:
    """Return the training record of the model, including that of its base."""
    record = TrainingRecord.in_folder(trained.folder)
    if record is None:
        return None
    return replace(record, earlier=of_base(trained.base)).as_dict() if trained.is_adapter else record.as_dict()


def _loads_by(folder: Path, base: str | None) -> str:
    if base is None:
        return f'AutoModelForCausalLM.from_pretrained("{folder}")'
    return f'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "{folder}")'

"""The command `export`: its options and output. Decides nothing; imports nothing heavy before it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or folder of an adapter.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge the adapter into the base and write the whole model.")
    ] = False,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        typer.Option(
            "--dtype",
            metavar="DTYPE",
            show_default="that of the loaded base",
            help="Type of a merged model's weights: float32, float16 or bfloat16.",
        ),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option("--push-to-hub", metavar="REPO", help="Also upload it to the Hub; HF_TOKEN holds the token."),
    ] = None,
    from_state_dict: Annotated[
        Path | None,
        typer.Option(
            "--from-state-dict", metavar="FILE", help="Read the adapter's weights from a training state file."
        ),
    ] = None,
    base_model: Annotated[
        str | None, typer.Option("--base-model", metavar="NAME", help="The base model, if it has moved.")
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", metavar="DIR", show_default="exports/<name of RUN>", help="Folder to write to."),
    ] = None,
) -> None:
    """Export a trained adapter or merged model.

    An adapter gets its base's path. A merged model is kept only if it gives a few texts the same scores as the adapter
    on its base; on a quantised base, the command reports how much the unquantised weights change the scores. RUN is not
    modified unless it is the --output-dir.
    """
    from sft.export.command import ExportRequest
    from sft.export.command import export as write

    request = ExportRequest(run, merge, dtype, push_to_hub, from_state_dict, base_model, output_dir)
    exported = write(request)
    for note in exported.notes:
        typer.echo(note)
    typer.echo(f"Exported: {exported.folder}\nTo load it: {exported.loads_by}")

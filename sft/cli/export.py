"""The command `export`: its options, and what it prints. Decides nothing; imports nothing heavy before it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or the folder of an adapter.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Write a whole model: the base with the adapter in it.")
    ] = False,
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        typer.Option("--dtype", help="Of a whole model's weights.  [default: as the base is loaded]"),
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="REPO", help="Upload it too; HF_TOKEN holds the token.")
    ] = None,
    from_state_dict: Annotated[
        Path | None,
        typer.Option("--from-state-dict", metavar="FILE", help="Take the adapter's weights out of a training's file."),
    ] = None,
    base_model: Annotated[
        str | None, typer.Option("--base-model", metavar="NAME", help="The base, where it now lies elsewhere.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", metavar="DIR", help="[default: exports/<name of RUN>]")
    ] = None,
) -> None:
    """Make what was trained ready to be used elsewhere: an adapter with its base's path, or one merged whole model.

    A merged model is put in place only if it scores a few texts as the adapter does on its base; on a quantised base it
    is said by how much the plain numbers differ. Nothing in RUN changes, unless it is named as --output-dir.
    """
    from sft.export.command import ExportRequest
    from sft.export.command import export as write

    request = ExportRequest(run, merge, dtype, push_to_hub, from_state_dict, base_model, output_dir)
    exported = write(request)
    for note in exported.notes:
        typer.echo(note)
    typer.echo(f"Exported: {exported.folder}\nTo load it: {exported.loads_by}")

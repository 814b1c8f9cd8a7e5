"""Run the cells of a notebook, or the python blocks of a page, in one namespace, without a notebook.

    python tests/api/cells.py ANSWERS NOTEBOOK|PAGE…

Like a notebook, it shows the value of a cell that ends with an expression: `_repr_html_` if it exists, else `repr`.
ANSWERS receives a JSON list with an object for each file: `shown`, a string or null for each cell; `values`; `printed`.
The files run one after the other, each in its own namespace.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any


def cells_of(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def shown(code: str, name: str, namespace: dict[str, Any]) -> str | None:
    """Run a cell. Return what a notebook shows for its last expression."""
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)  # noqa: S102 - our own documentation
    if not isinstance(last, ast.Expr):
        return None
    value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)  # noqa: S307 - the same
    if value is None:
        return None
    return value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)


def values(namespace: dict[str, Any]) -> dict[str, Any]:
    run, results, scores = namespace["run"], namespace["results"], namespace["scores"]
    return {
        "run": {"status": run.status, "name": run.name, "rows": len(run.predictions), "accuracy": run.metrics},
        "rows": json.loads(results.rows.to_json(orient="records")),
        "runs": json.loads(results.runs.to_json(orient="records")),
        "labels": scores.labels,
        "likeliest": scores.to_frame().idxmax(axis=1).tolist(),
        "wrong": len(namespace["wrong"]) if "wrong" in namespace else None,
    }


def answer(file: Path) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "cells"}
    with redirect_stdout(StringIO()) as printed:
        seen = [shown(code, f"{file.name}, cell {number}", namespace) for number, code in enumerate(cells_of(file), 1)]
    return {"shown": seen, "values": values(namespace), "printed": printed.getvalue()}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps([answer(Path(file)) for file in sys.argv[2:]]), encoding="utf-8")

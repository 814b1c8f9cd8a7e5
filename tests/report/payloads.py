"""Text that wants to be more than text, and a results folder that is full of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.results.schema import RunResult, RunState
from sft.results.store import ResultStore, RunFolder
from sft.sweep.planning.jobs import Plan, config_of, make_plan, write_plan

PAYLOADS = {
    "script": "<script>alert('sft')</script>",
    "end of a script": "</script><script>alert(1)</script>",
    "end of a style": "</style></title></textarea><svg/onload=alert(1)>",
    "handler": "\"><img src=x onerror=alert(1)>' onmouseover='alert(1)",
    "frame": "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "entities": "&lt;script&gt;alert(1)&lt;/script&gt; &#60;b&#62;",
    "template": "{{7*7}} ${7*7} {% raw %} #{7*7} <%= 7*7 %>",
    "cdata": "<![CDATA[<b>bold</b>]]> <!DOCTYPE html> <?php echo 1 ?>",
    "comment": "<!-- hidden --> --><b>shown</b><!--",
    "script link": "[click](javascript:alert(1)) javascript:alert(1)",
    "data link": "<a href='data:text/html;base64,PHNjcmlwdD4='>x</a> ![x](data:text/html,<b>)",
    "image": "![pixel](https://evil.example/pixel.png) ![x][ref]",
    "reference": "[ref]: https://evil.example/ 'title'\n\n[ref]",
    "bare links": "https://evil.example/x HTTP://EVIL.EXAMPLE www.evil.example ftp://evil.example <https://evil.example>",
    "columns": "a | b \\| c || d",
    "table": "x\n| a | b | c | d |\n| --- | --- | --- | --- |\n| 1 | 2 | 3 | 4 |\n",
    "fence": "```\n# heading\n```` ` `` ~~~ ~~gone~~ **bold** _it_",
    "blocks": "\n\n# heading\n- item\n> quote\n***\n    code",
    "command": "=cmd|' /C calc'!A0",
    "sum": "@SUM(1+1)*cmd|' /C calc'!A0",
    "plus": "+1+1",
    "minus": '-2+3+cmd|" /C calc"!A0',
    "led by a tab": "\t=HYPERLINK(\"https://evil.example\",\"x\")",
    "full width": "＝1+1",  # noqa: RUF001
    "quoted formula": "x\",=1+1,\"\r\n=1+1",
    "colours": "\x1b[31mred\x1b[2J\x1b]0;title\x07\x9b31m",
    "terminal link": "\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\ \b\b\b\r",
    "right to left": "abc\u202etxt.exe\u2066x\u2069 \u200fx",
    "nul and separators": "a\0b\u2028c\u2029d\ue000e\ufffcf",
    "tex": "\\input{/etc/passwd} \\write18{rm -rf} \\end{tabular} $x^2$ % & # _ ~ \\\\[2pt] ^^41",
    "tex line": "[2pt]*{x}\\hline \\csname input\\endcsname --- ``q''",
    "long": "<b>=" + "A" * 5000,
}  # fmt: skip


def hostile_results(root: Path, payload: str) -> ResultStore:
    """Two finished runs and one that failed: the payload is a name, an instruction, a label, a text, an error, a log.

    Also a metric of the user's own and a column of the data are called so.
    """
    store = ResultStore(root)
    grid = {payload: _config(payload), "tame": _config("How is it?"), f"failed {payload}": _config("No.")}
    plan = make_plan(Grid(Path("grid.jsonnet"), grid, None), None, "evaluate")
    write_plan(plan, store)
    for number, experiment in enumerate(plan.experiments):
        folder = store.folder(experiment.id, experiment.slug)
        folder.path.mkdir(parents=True)
        folder.log_file.write_text(f"before\n{payload}\nafter\n", encoding="utf-8")
        if number == 2:
            folder.write_state(RunState(state="failed", error=f"ValueError: {payload}", exit_code=1))
        else:
            _finish(folder, plan, number, payload)
    return store


def _config(instruction: str) -> ExperimentConfig:
    data: dict[str, Any] = {
        "dataset": {"path": "hub/data", "task_type": "classification"},
        "model": {"name": "hub/model"},
        "evaluation": {"metrics": ["mine:length"]},
        "prompting": {"input_columns": ["text"], "output_column": "label", "instruction": instruction},
        "inference": {},
    }
    return ExperimentConfig.model_validate(data)


def _finish(folder: RunFolder, plan: Plan, number: int, payload: str) -> None:
    experiment, labels = plan.experiments[number], [payload, "tame"]
    probabilities_NL = np.array([[0.75, 0.25], [0.25, 0.75], [0.6, 0.4], [0.4, 0.6]])
    truth_N = np.array([0, 1, 1, 0])
    predicted_N = np.array([0, 1, 0, 0]) if number else probabilities_NL.argmax(axis=1)
    accuracy = float((predicted_N == truth_N).mean())
    results = {
        "accuracy": accuracy, "ece": 0.1 + number / 10, f"length {payload}": 3.0 + number,
        "confusion_matrix": [[1, 1], [1, 1]], "support": dict.fromkeys(labels, 2),
    }  # fmt: skip
    folder.write_config(config_of(experiment))
    folder.write_predictions({
        "text": [f"{payload} {row}" for row in range(4)], payload: [payload] * 4,
        "label": [labels[column] for column in truth_N], "predictions": [labels[column] for column in predicted_N],
        "probabilities": [json.dumps(dict(zip(labels, row, strict=True))) for row in probabilities_NL.tolist()],
    })  # fmt: skip
    scores = {f"{name}_logprob": np.log(probabilities_NL).astype(np.float32) for name in ("sum", "end", "first")}
    folder.write_scores({**scores, "token_count": np.ones((4, 2), np.int64), "label": truth_N})
    folder.write_result(RunResult(
        name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
        endpoint="evaluate", config=config_of(experiment), results=results, shots={}, labelled_examples=0,
        training={}, timings={"total": 1.0}, resources={}, environment={}, data={"sha256": "one", "rows": {"test": 4}},
    ))  # fmt: skip
    folder.write_state(RunState(state="done"))

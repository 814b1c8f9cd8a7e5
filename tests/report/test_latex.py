"""The LaTeX table: its structure, which numbers are bold or marked, and text that is only text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sft.config.load import Grid
from sft.config.schema import ExperimentConfig
from sft.report.comparison import Comparison
from sft.report.judgement import Contrast, Judgement, Significance
from sft.report.latex import escape, render_latex
from sft.report.rows import compare
from sft.results.schema import RunResult
from sft.results.store import ResultStore
from sft.sweep.jobs import config_of, make_plan, write_plan


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Two initialisations of two seeds each, and zero-shot."""
    common = {"model": {"name": "hub/model"}, "prompting": {"input_columns": ["text"], "output_column": "label"}}
    configs = {
        name: ExperimentConfig.model_validate({
            **common, "dataset": {"path": "hub/data", "task_type": "classification", "shots": shots},
            "lora": {"init_lora_weights": init}, "training": {}, "inference": {},
        })
        for name, shots, init in (("zero", 0, True), ("plain", 4, True), ("pca_8%", 4, "pca"))
    }  # fmt: skip
    made = make_plan(Grid(Path("grid.jsonnet"), configs, (13, 14)), None)
    store = ResultStore(tmp_path)
    write_plan(made, store)
    for accuracy, experiment in zip((0.5, 0.4, 0.5, 0.8, 0.9), made.experiments, strict=True):
        result = RunResult(
            name=experiment.name, id=experiment.id, recipe_id=experiment.recipe_id, seed=experiment.seed,
            endpoint="run-experiment", config=config_of(experiment), results={"accuracy": accuracy}, shots={},
            labelled_examples=3, training={}, timings={}, resources={}, environment={}, data={},
        )  # fmt: skip
        store.folder(experiment.id, experiment.slug).write_result(result)
    return compare(store)


def test_the_table(comparison: Comparison) -> None:
    judged = {
        (1, "accuracy"): Judgement(None, Contrast(-0.05, None, 0.2, 0.4, "x"), True),
        (2, "accuracy"): Judgement(None, Contrast(0.35, None, 1e-6, 2e-6, "x"), True),
    }
    text = render_latex(replace(comparison, significance=Significance(judged, {}, ("Made with 9_999 draws.",))))
    table = text[text.index("    \\toprule") : text.index("  \\end{tabular}")].splitlines()
    assert table == [
        r"    \toprule",
        r"    shots & init & labelled & accuracy & $\Delta$ accuracy & p & n \\",
        r"    \midrule",
        r"    0 & - & 3 & .500 & baseline & -- & 1 \\",
        r"    4 & default & 3 & .450$^{\dagger}$ {\scriptsize$\pm$ .071} & $-$.050 & .400 & 2 \\",
        r"    4 & pca & 3 & \textbf{.850} {\scriptsize$\pm$ .071} & +.350 & \textless{}.001 & 2 \\",
        r"    \bottomrule",
    ]
    assert r"\begin{tabular}{llrrrrr}" in text
    caption = next(line for line in text.splitlines() if line.startswith(r"  \caption{"))
    assert r"$^{\dagger}$ cannot be told apart from it" in caption
    assert caption.endswith(r"Made with 9\_999 draws.}")
    assert text.startswith(r"% Needs \usepackage{booktabs}")


def test_without_a_varying_setting_rows_have_names(comparison: Comparison) -> None:
    text = render_latex(replace(comparison, settings=()))
    assert r"    pca\_8\% & 3 &" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % of {a_b} & c#d ~ ^", r"50 \% of \{a\_b\} \& c\#d \textasciitilde{} \textasciicircum{}"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a|b<c>\"d\"", r"a\textbar{}b\textless{}c\textgreater{}\symbol{34}d\symbol{34}"),
        ("---", "-{}-{}-"),
        ("[2pt]*", "{[}2pt{]}{*}"),
        ("größer 日本 ±", r"größer 日本 $\pm$"),
        ("a\n\tb\0c\u202ed\u2028e", "a bcd e"),
        ("$x$", r"\$x\$"),
    ],
)  # fmt: skip
def test_text_is_only_text(text: str, expected: str) -> None:
    assert escape(text) == expected

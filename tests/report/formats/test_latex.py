"""The LaTeX table: structure, bold and marked numbers, and escaped text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sft.config.reading.load import Grid
from sft.config.sections.schema import ExperimentConfig
from sft.report.comparison import Comparison
from sft.report.formats import latex
from sft.report.formats.latex import escape, render_latex
from sft.report.rows import compare
from sft.report.significance import Contrast, Interval, RowSignificance, RowsTest, Significance
from sft.results.schema import RunResult
from sft.results.store import ResultStore
from sft.sweep.planning.jobs import config_of, make_plan, write_plan


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Return two initialisations with two seeds each, and zero-shot."""
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


def with_tests(comparison: Comparison) -> Comparison:
    intervals, models = [Interval(-0.05, 0.38, "x"), Interval(0.8, 0.9, "x")], RowsTest(0.01, 0.02, "x")
    rows = {
        (1, "accuracy"): RowSignificance(intervals[0], Contrast(-0.05, None, None, None, None, "", models), True),
        (2, "accuracy"): RowSignificance(
            intervals[1], Contrast(0.35, None, intervals[0], 1e-6, 2e-6, "x", models), True
        ),
    }
    return replace(comparison, significance=Significance(rows, {}, ("Made with 9_999 draws.",)))


def test_the_table(comparison: Comparison) -> None:
    text = render_latex(with_tests(comparison))
    table = text[text.index("    \\toprule") : text.index("  \\end{tabular}")].splitlines()
    assert table == [
        r"    \toprule",
        r"    experiment & shots & init & labelled & accuracy & 95 \% interval & $\Delta$ accuracy"
        r" & 95 \% interval of $\Delta$ & p & these models & n \\",
        r"    \midrule",
        r"    zero & 0 & - & 3 & .500 & -- & baseline & -- & -- & -- & 1 \\",
        r"    plain & 4 & default & 3 & .450$^{\dagger}$ {\scriptsize$\pm$ .071} & $-$.050 to .380"
        r" & $-$.050 & -- & -- & .020 & 2 \\",
        r"    pca\_8\% & 4 & pca & 3 & \textbf{.850} {\scriptsize$\pm$ .071} & .800 to .900"
        r" & +.350 & $-$.050 to .380 & \textless{}.001 & .020 & 2 \\",
        r"    \bottomrule",
    ]  # fmt: skip
    assert r"\begin{tabular}{lllrrrrrrrr}" in text


def test_the_caption_is_short_and_the_methods_are_comments(comparison: Comparison) -> None:
    lines = render_latex(with_tests(comparison)).splitlines()
    assert lines[0].startswith(r"% Needs \usepackage{booktabs} in")
    caption = next(line for line in lines if line.startswith(r"  \caption{"))
    assert caption == (
        r"  \caption{Accuracy on model $\cdot$ data; mean $\pm$ standard deviation over up to 2 seeds. "
        r"Bold: best mean; $^{\dagger}$ not significantly different from it. "
        r"$\Delta$: difference to zero. p: chance of such a difference between equal recipes, over test rows and "
        r"seeds; these models: the same for the trained models, over test rows alone.}\label{tab:sft}"
    )
    comments = [line for line in lines if line.startswith("%")]
    assert "% Made with 9_999 draws." in comments
    assert any("a dagger: not significantly different from it" in line for line in comments)
    assert lines[: len(comments)] == comments  # above the table
    bare = render_latex(replace(comparison, metrics=()))
    assert r"\caption{No figures yet on model $\cdot$ data;" in bare


def test_rows_without_a_finished_run_are_left_out_and_named(comparison: Comparison) -> None:
    unfinished = tuple(replace(run, result=None) for run in comparison.rows[1].runs)
    row = replace(comparison.rows[1], runs=unfinished, name="pl\nain_1")
    rows = (comparison.rows[0], row, comparison.rows[2])
    text = render_latex(replace(comparison, rows=rows))
    assert "% Left out, since no run has finished: plain_1.\n" in text
    assert text.count(" \\\\\n") == 3


def test_many_rows_go_over_several_pages(comparison: Comparison) -> None:
    many = latex.MOST_ROWS + 1
    settings = tuple(one._replace(values=one.values[:1] * many) for one in comparison.settings)
    long = replace(comparison, rows=comparison.rows[:1] * many, settings=settings, best={}, baselines=())
    lines = render_latex(long).splitlines()
    assert r"\usepackage{booktabs,longtable}" in lines[0]
    head = next(line for line in lines if line.startswith("    experiment & shots"))
    top = [r"    \toprule", head, r"    \midrule"]
    start = lines.index(r"\begin{longtable}{lllrrr}")
    assert lines[start + 1].endswith(r"\label{tab:sft}\\")
    ends = [r"  \endhead", r"    \bottomrule", r"  \endfoot"]
    assert lines[start + 2 : start + 12] == [*top, r"  \endfirsthead", *top, *ends]
    assert len(lines[start + 12 :]) == many + 1
    assert lines[-1] == r"\end{longtable}"
    assert "longtable" not in render_latex(comparison)


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

"""Finding tasks before anything is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sft.config.sections.lm_eval import LmEvalConfig
from sft.errors import MissingPackageError, UserError
from sft.harness import catalogue
from sft.harness.catalogue import find_tasks
from sft.harness.tasks import open_tasks

WriteTask = Callable[..., str]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A harness of a few tasks instead of the installed one, whose index takes long to make."""
    folder = tmp_path / "harness"
    folder.mkdir()
    (folder / "story.yaml").write_text("task: story_cloze_x\ndataset_path: story\n")
    (folder / "group.yaml").write_text("group: stories\ntask:\n  - story_cloze_x\n")
    (folder / "code.yaml").write_text("include: base\ntask: code_x\n")
    (folder / "base").write_text("unsafe_code: true\n")
    (folder / "file.yaml").write_text("task: file_x\ndataset_path: org/data\ndataset_kwargs: {data_files: a.json}\n")
    known = {"story_cloze_x": "story.yaml", "stories": "group.yaml", "code_x": "code.yaml", "file_x": "file.yaml"}
    monkeypatch.setattr(catalogue, "own_tasks", lambda: {name: folder / file for name, file in known.items()})
    monkeypatch.setattr(catalogue, "_index", lambda: frozenset({"a_tag"}))
    return folder


def found(*tasks: str) -> catalogue.Found:
    return find_tasks(LmEvalConfig(tasks=tasks))


def test_single_tasks_are_read_by_themselves(harness: Path, write_task: WriteTask) -> None:
    mine = found("story_cloze_x", write_task())
    assert (mine.names, mine.whole) == (("story_cloze_x", "mine_choice"), False)
    assert mine.files["story_cloze_x"].path == harness / "story.yaml"
    assert found("stories").whole and found("a_tag").whole
    (harness / "a.json").write_text("[]")
    assert found("file_x").files["file_x"].local_data == {}, "that file is one of the hub's"


def test_unknown_names_and_code_of_the_model_are_refused(harness: Path) -> None:
    with pytest.raises(UserError, match=r'lm-eval has no task "story_clozex"; did you mean "story_cloze_x"\?'):
        found("story_clozex")
    with pytest.raises(UserError, match='"code_x" runs code that the model writes'):
        found("code_x")


def test_the_installed_harness_is_found() -> None:
    pytest.importorskip("lm_eval")
    assert found("hellaswag").files["hellaswag"].values["output_type"] == "multiple_choice"
    assert not found("hellaswag", "arc_easy").whole


def test_a_folder_names_all_its_tasks(write_task: WriteTask) -> None:
    write_task("b.yaml", task="second")
    folder = Path(write_task("a.yaml", task="first")).parent
    (folder / "group.yaml").write_text("group: both\ntask:\n  - first\n  - second\n")
    (folder / "template.yaml").write_text("output_type: multiple_choice\n")
    assert found(str(folder)).names == ("first", "second")
    assert found(str(folder / "*.yaml")).names == ("first", "second")
    group = found(str(folder / "group.yaml"))
    assert (group.names, set(group.files), group.whole) == (("both",), {"both", "first", "second"}, False)
    with pytest.raises(UserError, match=r'template\.yaml" holds no task of lm-eval'):
        found(str(folder / "template.yaml"))


@pytest.mark.parametrize("place", ["", "/a_group.yaml", "/*.yaml"])
def test_no_file_that_would_be_loaded_runs_code_unasked(write_task: WriteTask, place: str) -> None:
    """Neither one beside a group that names another, nor one that a group names by its tag."""
    write_task("x.yaml", task="plain")
    coded = Path(write_task("z.yaml", task="coded", tag="a_tag", process_docs="FUNCTION"))
    folder = coded.parent
    coded.write_text(coded.read_text().replace('"FUNCTION"', "!function functions.clean"))
    member = "a_tag" if place == "/a_group.yaml" else "plain"
    (folder / "a_group.yaml").write_text(f"group: mine\ntask: [{member}]\n")
    with pytest.raises(UserError, match=r"z\.yaml runs code \(process_docs: !function functions\.clean\)"):
        found(f"{folder}{place}")
    (folder / "a_group.yaml").write_text("group: mine\ntask: [plain]\n")
    assert set(found(str(folder / "a_group.yaml")).files) == {"mine", "plain"}, "others beside it do not matter"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: [", "mine.yaml cannot be read as a task of lm-eval: while parsing"),
        ("- task", "mine.yaml cannot be read as a task of lm-eval: it holds no keys"),
        ("task: mine\ninclude: absent.yaml", "absent.yaml cannot be read: No such file"),
        ("task: mine\ninclude: mine.yaml", "it is included twice"),
        (
            "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: rows.jsonl}",
            '"rows.jsonl" not found; looked in ',
        ),
        ("task: mine\nunsafe_code: true", "runs code that the model writes"),
        ("task: mine\n\x00", "mine.yaml cannot be read as a task of lm-eval"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_one_line_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as refusal:
        found(str(tmp_path / "mine.yaml"))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_two_files_of_one_name_are_refused(write_task: WriteTask) -> None:
    folder = Path(write_task("a.yaml")).parent
    write_task("b.yaml")
    with pytest.raises(UserError, match='are both called "mine_choice"'):
        found(str(folder))


def test_rows_beside_the_file_come_before_those_of_the_working_directory(
    write_task: WriteTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    (tmp_path / "rows.jsonl").write_text('{"q": "x", "options": ["a", "b"], "gold": 0}\n')
    monkeypatch.chdir(tmp_path)
    beside = open_tasks(LmEvalConfig(tasks=(write_task(),)))
    assert len(beside.loaded["tasks"]["mine_choice"].eval_docs) == 7
    task = write_task()
    (tmp_path / "tasks" / "rows.jsonl").unlink()
    here = open_tasks(LmEvalConfig(tasks=(task,)))
    assert len(here.loaded["tasks"]["mine_choice"].eval_docs) == 1


def test_what_the_harness_cannot_open_is_one_line(write_task: WriteTask) -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(UserError, match=r"evaluation\.lm_eval: mine_choice cannot be opened: .*no_such_column"):
        open_tasks(LmEvalConfig(tasks=(write_task(doc_to_target="{{no_such_column.x}}"),)))
    with pytest.raises(UserError, match="mine_choice cannot be opened: "):
        open_tasks(LmEvalConfig(tasks=(write_task(dataset_path="org/not-there", dataset_kwargs=None),)))


def test_without_the_package_one_line_says_how_to_get_it(
    write_task: WriteTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'sft\[lm-eval\]'$"):
        found(write_task())

"""Tasks are found without loading them."""

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
    """A harness with a few tasks; the installed one takes long to build its index."""
    folder = tmp_path / "harness"
    folder.mkdir()
    (folder / "story.yaml").write_text("task: story_cloze_x\ndataset_path: story\n")
    (folder / "group.yaml").write_text("group: stories\ntask:\n  - story_cloze_x\n")
    (folder / "code.yaml").write_text("include: base\ntask: code_x\n")
    (folder / "base").write_text("unsafe_code: true\n")
    (folder / "file.yaml").write_text("task: file_x\ndataset_path: org/data\ndataset_kwargs: {data_files: a.json}\n")
    known = {"story_cloze_x": "story.yaml", "stories": "group.yaml", "code_x": "code.yaml", "file_x": "file.yaml"}
    monkeypatch.setattr(catalogue, "builtin_tasks", lambda: {name: folder / file for name, file in known.items()})
    monkeypatch.setattr(catalogue, "_index", lambda: frozenset({"a_tag"}))
    return folder


def config_tasks(*tasks: str) -> catalogue.ConfigTasks:
    return find_tasks(LmEvalConfig(tasks=tasks))


def test_single_tasks_do_not_need_all_files(harness: Path, write_task: WriteTask) -> None:
    mine = config_tasks("story_cloze_x", write_task())
    assert (mine.names, mine.needs_all_files) == (("story_cloze_x", "mine_choice"), False)
    assert mine.files["story_cloze_x"].path == harness / "story.yaml"
    assert config_tasks("stories").needs_all_files and config_tasks("a_tag").needs_all_files
    (harness / "a.json").write_text("[]")
    assert config_tasks("file_x").files["file_x"].local_data == {}, "the file is on the Hub"


def test_unknown_tasks_and_tasks_that_run_the_models_code_are_errors(harness: Path) -> None:
    with pytest.raises(UserError, match=r'lm-eval has no task "story_clozex"; did you mean "story_cloze_x"\?'):
        config_tasks("story_clozex")
    with pytest.raises(UserError, match='"code_x" runs code that the model writes'):
        config_tasks("code_x")


def test_the_installed_harness_is_searched() -> None:
    pytest.importorskip("lm_eval")
    assert config_tasks("hellaswag").files["hellaswag"].values["output_type"] == "multiple_choice"
    assert not config_tasks("hellaswag", "arc_easy").needs_all_files


def test_a_folder_means_all_its_tasks(write_task: WriteTask) -> None:
    write_task("b.yaml", task="second")
    folder = Path(write_task("a.yaml", task="first")).parent
    (folder / "group.yaml").write_text("group: both\ntask:\n  - first\n  - second\n")
    (folder / "template.yaml").write_text("output_type: multiple_choice\n")
    assert config_tasks(str(folder)).names == ("first", "second")
    assert config_tasks(str(folder / "*.yaml")).names == ("first", "second")
    group = config_tasks(str(folder / "group.yaml"))
    assert (group.names, set(group.files), group.needs_all_files) == (("both",), {"both", "first", "second"}, False)
    with pytest.raises(UserError, match=r'template\.yaml" contains no lm-eval task'):
        config_tasks(str(folder / "template.yaml"))


@pytest.mark.parametrize("suffix", ["", "/a_group.yaml", "/*.yaml"])
def test_a_task_with_code_is_an_error_wherever_it_is_named(write_task: WriteTask, suffix: str) -> None:
    """Check folders, patterns and a group that names the task by its tag."""
    write_task("x.yaml", task="plain")
    coded = Path(write_task("z.yaml", task="coded", tag="a_tag", process_docs="FUNCTION"))
    folder = coded.parent
    coded.write_text(coded.read_text().replace('"FUNCTION"', "!function functions.clean"))
    member = "a_tag" if suffix == "/a_group.yaml" else "plain"
    (folder / "a_group.yaml").write_text(f"group: mine\ntask: [{member}]\n")
    with pytest.raises(UserError, match=r"z\.yaml runs code \(process_docs: !function functions\.clean\)"):
        config_tasks(f"{folder}{suffix}")
    (folder / "a_group.yaml").write_text("group: mine\ntask: [plain]\n")
    assert set(config_tasks(str(folder / "a_group.yaml")).files) == {"mine", "plain"}, (
        "a group does not load the other files of its folder"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: [", "mine.yaml cannot be read as a task of lm-eval: while parsing"),
        ("- task", "mine.yaml cannot be read as a task of lm-eval: expected an object of keys and values"),
        ("task: mine\ninclude: absent.yaml", "absent.yaml cannot be read: No such file"),
        ("task: mine\ninclude: mine.yaml", "it is included twice"),
        (
            "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: rows.jsonl}",
            '"rows.jsonl" not found; searched ',
        ),
        ("task: mine\nunsafe_code: true", "runs code that the model writes"),
        ("task: mine\n\x00", "mine.yaml cannot be read as a task of lm-eval"),
    ],
)
def test_an_invalid_file_is_a_one_line_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as raised:
        config_tasks(str(tmp_path / "mine.yaml"))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_files_with_the_same_task_are_an_error(write_task: WriteTask) -> None:
    folder = Path(write_task("a.yaml")).parent
    write_task("b.yaml")
    with pytest.raises(UserError, match='duplicate task "mine_choice" in '):
        config_tasks(str(folder))


def test_the_files_folder_is_searched_before_the_working_directory(
    write_task: WriteTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    (tmp_path / "rows.jsonl").write_text('{"q": "x", "options": ["a", "b"], "gold": 0}\n')
    monkeypatch.chdir(tmp_path)
    in_folder = open_tasks(LmEvalConfig(tasks=(write_task(),)))
    assert len(in_folder.loaded["tasks"]["mine_choice"].eval_docs) == 7
    task = write_task()
    (tmp_path / "tasks" / "rows.jsonl").unlink()
    in_working_directory = open_tasks(LmEvalConfig(tasks=(task,)))
    assert len(in_working_directory.loaded["tasks"]["mine_choice"].eval_docs) == 1


def test_a_task_that_the_harness_cannot_open_is_a_one_line_error(write_task: WriteTask) -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(UserError, match=r"evaluation\.lm_eval: mine_choice cannot be opened: .*no_such_column"):
        open_tasks(LmEvalConfig(tasks=(write_task(doc_to_target="{{no_such_column.x}}"),)))
    with pytest.raises(UserError, match="mine_choice cannot be opened: "):
        open_tasks(LmEvalConfig(tasks=(write_task(dataset_path="org/not-there", dataset_kwargs=None),)))


def test_a_missing_package_is_an_error_with_the_install_command(
    write_task: WriteTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'sft\[lm-eval\]'$"):
        config_tasks(write_task())

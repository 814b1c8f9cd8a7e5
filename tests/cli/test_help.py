"""`--help`: summaries that fit their line, options in panels, no types of flags."""

from __future__ import annotations

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sft.cli.main import app

LONGEST_SUMMARY = 45  # a longer one ends in "..." in the list of commands
COMMANDS = {name: command for name, command in get_command(app).commands.items() if not command.hidden}


def help_of(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_of_commands_shows_whole_summaries() -> None:
    lines = help_of().partition("Commands:")[2].strip().splitlines()
    assert len(lines) == len(COMMANDS)
    assert not [line for line in lines if line.endswith("...")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_short(name: str) -> None:
    summary = (COMMANDS[name].help or "").partition("\n\n")[0]
    assert 0 < len(summary) <= LONGEST_SUMMARY


@pytest.mark.parametrize("name", COMMANDS)
def test_options_have_no_raw_types(name: str) -> None:
    text = help_of(name)
    assert not [noise for noise in ("<bool>", "<int", "<str", "<float", "range>", "None", "|fork|") if noise in text]


def test_options_of_a_sweep_are_in_panels() -> None:
    text = help_of("run-experiments")
    positions = [text.index(f" {panel} ") for panel in ("Which experiments", "Where", "Resources", "Failures")]
    assert positions == sorted(positions)
    assert text.index("--launcher") > positions[1] and text.index("--jobs") > positions[2]


def test_usage_errors_are_plain_lines() -> None:
    result = CliRunner().invoke(app, ["run-experiments", "grid.json", "--jobs", "0"])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: Invalid value for '--jobs': ")

"""What the commands say of themselves."""

import click
import pytest
from click.testing import CliRunner

from proxy.cli import main


@pytest.mark.parametrize("group", [(), ("ledger",)], ids=["quell", "ledger"])
def test_each_command_has_a_whole_sentence_in_the_list(group: tuple[str, ...]) -> None:
    """On a terminal of 80 columns no line of the list of commands is cut off."""
    shown = CliRunner().invoke(main, [*group, "--help"], terminal_width=80).stdout
    lines = shown.partition("Commands:\n")[2].splitlines()
    assert lines
    assert [line for line in lines if line.endswith("...")] == []


def test_outcomes_are_typed_as_they_are_shown() -> None:
    """`usage --outcome` takes the words that `usage --by outcome` prints."""
    command = main.get_command(click.Context(main), "usage")
    assert command is not None
    choice = next(each.type for each in command.params if each.name == "outcome")
    assert isinstance(choice, click.Choice)
    assert choice.convert("client_gone", None, None) == "client_gone"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (("stpo",), "No such command 'stpo'. Did you mean 'stop'?"),
        (("ledger", "verfy"), "No such command 'verfy'. Did you mean 'verify'?"),
        (("abracadabra",), "No such command 'abracadabra'.\n"),
        (("help", "stpo"), "Did you mean 'stop'?"),
    ],
)
def test_a_mistyped_command_is_told_what_is_near(typed: tuple[str, ...], hint: str) -> None:
    """A word that is no command exits with 2 and names the commands that look like it, in a group too."""
    done = CliRunner().invoke(main, typed)
    assert done.exit_code == 2
    assert hint in done.stderr


def test_an_option_before_its_command() -> None:
    """`quell --admin URL ps` is told where the option belongs."""
    done = CliRunner().invoke(main, ("--admin", "http://127.0.0.1:1", "ps"))
    assert done.exit_code == 2
    assert "behind its name: main COMMAND --admin" in done.stderr


def test_a_group_that_is_none() -> None:
    """`usage --by` refuses a word over which nothing is summed before a proxy is asked, and names the nearest."""
    done = CliRunner().invoke(main, ("usage", "--by", "model,outcom"))
    assert done.exit_code == 2
    assert "nothing is summed over 'outcom' (did you mean 'outcome'?)" in done.stderr


@pytest.mark.parametrize(
    ("typed", "same"),
    [(("help",), ("--help",)), (("help", "stop"), ("stop", "--help")), (("ledger", "help"), ("ledger", "--help"))],
)
def test_help_is_a_word_too(typed: tuple[str, ...], same: tuple[str, ...]) -> None:
    """`quell help` and `quell help stop` say what the option says: who types them looks for nothing else."""
    done = CliRunner().invoke(main, typed)
    assert (done.exit_code, done.stdout) == (0, CliRunner().invoke(main, same).stdout)

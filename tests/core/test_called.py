"""Tests of proxy.core.called: what is typed again in order to call the program."""

import pytest

from proxy.core.called import called, command_of

BINARIES = "/usr/local/bin:/usr/bin"


@pytest.mark.parametrize(
    ("argv", "original", "expected"),
    [
        (["/usr/local/bin/quell", "init"], ["python3", "/usr/local/bin/quell", "init"], "quell"),
        ([".venv/bin/quell", "init"], ["python3", ".venv/bin/quell", "init"], ".venv/bin/quell"),
        (["/opt/a b/quell"], ["python3", "/opt/a b/quell"], "'/opt/a b/quell'"),
        (["/srv/proxy/__main__.py"], [".venv/bin/python", "-m", "proxy"], ".venv/bin/python -m proxy"),
        (["/usr/bin/pytest", "-q"], ["python3", "/usr/bin/pytest"], "quell"),
        (["/usr/lib/pytest/__main__.py", "-n0"], ["python3", "-m", "pytest", "-n0"], "quell"),
        (["quell"], ["quell"], "quell"),
        ([""], ["python3"], "quell"),
        ([], [], "quell"),
    ],
)
def test_the_command_is_the_one_that_was_typed(argv: list[str], original: list[str], expected: str) -> None:
    """By its path where the shell would not find it, by the module as such, by its name inside another program."""
    assert command_of(argv, original, BINARIES) == expected


def test_a_test_is_another_program() -> None:
    """In the process of the tests the command is the program's name, however they were started."""
    assert called() == "quell"

from decimal import Decimal

import pytest

from proxy.config_file.scalars import resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-12", -12),
        ("0.10", Decimal("0.10")),
        ("127.0.0.1:8484", "127.0.0.1:8484"),
        ("sqlite:///quell.db", "sqlite:///quell.db"),
        ("1h30m", "1h30m"),
        ("20MiB", "20MiB"),
        ("none", "none"),
        ("gpt-4o", "gpt-4o"),
        ("4o", "4o"),
        ("nothing", "nothing"),
    ],
)
def test_a_word_means_what_it_looks_like(text: str, value: object) -> None:
    """Text, numbers, booleans and null are what every YAML reader takes them for."""
    resolved = resolve(text, "key")
    assert (resolved, type(resolved)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        *("no", "No", "NO", "yes", "on", "off", "y", "N"),
        *("22:22", "1:30:00", "190:20:30.15", "017", "08", "0_1", "0x1F", "0o17", "0b101", "1_000", "1_0.5"),
        *("1e3", "1.5E-3", ".5", "5.", "+1", "00.5", ".inf", "-.INF", ".nan", "2024-01-02", "2024-1-2 03:04:05", "="),
        "1234567890123456789",
    ],
)
def test_a_word_that_readers_disagree_about_is_refused(text: str) -> None:
    """What YAML 1.1 and 1.2 read differently must be put in quotes."""
    with pytest.raises(ValueError, match=r"quotes"):
        resolve(text, "key")


@pytest.mark.parametrize("text", ["yes", "no"])
def test_a_key_whose_own_words_are_yes_and_no_takes_them(text: str) -> None:
    """`bills_after_close: no` can mean nothing else."""
    assert resolve(text, "bills_after_close") == text

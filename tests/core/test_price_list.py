"""Which entry of a price list counts: upstream, model, wildcards, day."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from proxy.core.price_list import LONGEST_NAME, Entry, PriceList
from proxy.core.prices import Price
from proxy.core.wildcards import Pattern

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


def entry(pattern: str, mark: str = "", upstream: str | None = None, since: str | None = None) -> Entry:
    """An entry; its price says which one it is."""
    zero = Decimal(0)
    price = Price(zero, zero, zero, zero, zero, "USD", "v", mark or pattern)
    return Entry(Pattern(pattern), price, upstream, None if since is None else date.fromisoformat(since))


def found(
    entries: list[Entry], asked: str | None, answered: str | None = None, *, upstream: str = "up", at: float = NOW
) -> str | None:
    """Which entry counts."""
    price = PriceList("v", "USD", entries).find(asked, answered, upstream, at)
    return None if price is None else price.model


FAMILY = [entry(each) for each in ("*", "gpt-*", "gpt-4o", "gpt-4o*", "gpt-4o-mini*", "gpt-?", "*-preview")]


@pytest.mark.parametrize(
    ("model", "counts"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-audio", "gpt-4o*"),
        ("gpt-4o-mini-x", "gpt-4o-mini*"),
        ("gpt-5", "gpt-?"),
        ("gpt-55", "gpt-*"),
        ("gpt-4o-preview", "*-preview"),
        ("claude", "*"),
        ("", "*"),
    ],
)
def test_the_most_specific_entry_counts(model: str, counts: str) -> None:
    """A plain name first, then the pattern with the most characters; the order of the file means nothing."""
    assert found(FAMILY, model) == found(FAMILY[::-1], model) == counts


@pytest.mark.parametrize(
    ("asked", "answered", "counts"),
    [
        ("fast", "gpt-4o", "gpt-4o"),
        ("gpt-4o", "gpt-4o-mini-x", "gpt-4o-mini*"),
        ("gpt-4o", "model.gguf", "gpt-4o"),
        ("fast", "model.gguf", "*"),
        (None, "gpt-4o", "gpt-4o"),
        ("gpt-4o", None, "gpt-4o"),
        (None, None, "*"),
    ],
)
def test_the_model_that_answered_goes_first(asked: str | None, answered: str | None, counts: str) -> None:
    """It was paid for; one without an entry leaves it to the one asked for, and a bare star to both."""
    assert found(FAMILY, asked, answered) == counts


@pytest.mark.parametrize("date", ["-2024-08-06", "-20240806", "-0806", "@20240806"])
def test_a_model_with_a_date_is_the_model(date: str) -> None:
    """The state of a model that answered is priced as the model asked for, unless it has an entry of its own."""
    family = [entry("gpt-*"), entry("gpt-4o")]
    assert found(family, "gpt-4o", f"gpt-4o{date}") == "gpt-4o"
    assert found([*family, entry(f"gpt-4o{date}", "dated")], "gpt-4o", f"gpt-4o{date}") == "dated"
    assert found([*family, entry(f"gpt-4o{date[:2]}*", "some")], "gpt-4o", f"gpt-4o{date}") == "some"
    assert found(family, "gpt-4o", f"gpt-4o{date}-mini") == "gpt-*"


def test_an_entry_of_the_upstream_goes_before_all_others() -> None:
    """What one's own model server costs is not what the provider of that name asks."""
    entries = [entry("llama"), entry("*", "own", upstream="local"), entry("llama", "dear", upstream="groq")]
    assert [found(entries, "llama", upstream=name) for name in ("local", "groq", "up")] == ["own", "dear", "llama"]
    assert found(entries, "other", upstream="groq") is None


def test_the_newest_price_that_has_begun_counts() -> None:
    """A price begins at midnight UTC of its day; before that it is not there at all."""
    entries = [
        entry("m", "new", since="2026-11-21"),
        entry("m", "old"),
        entry("m", "middle", since="2026-01-01"),
        entry("n", "later", since="2026-11-21"),
        entry("*", "rest"),
    ]
    midnight = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    january = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    times = (0.0, january - 0.001, january, midnight - 0.001, midnight, midnight + 1e9)
    assert [found(entries, "m", at=at) for at in times] == ["old", "old", "middle", "middle", "new", "new"]
    assert [found(entries, "n", at=at) for at in (midnight - 0.001, midnight)] == ["rest", "later"]


def test_a_name_that_is_none_has_no_price() -> None:
    """An endless name is no model, but a bare star still counts for it."""
    name = "m" * (LONGEST_NAME + 1)
    assert found([entry("m*")], name) is None
    assert found([entry("m*"), entry("*")], name) == "*"


def test_the_models_that_are_named() -> None:
    """Only what no wildcard stands for is a name."""
    assert PriceList("v", "USD", FAMILY).models == {"gpt-4o"}

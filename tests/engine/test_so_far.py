"""The numbers so far: what rows are put in order by is what they show."""

from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.generation import Counted, Facts, Generation, Identity, Priced
from proxy.core.partial import Partial
from proxy.core.prices import Price
from proxy.core.record import UsageSource
from proxy.core.usage import Usage
from proxy.engine.settling.so_far import SoFar

PRICE = Price(Decimal(1), Decimal(2), Decimal(1), Decimal(2), Decimal(0), "USD", "t", "m")
FACTS = Facts("u", "t", "m", Identity("a", "a"), "openai", "/v1", "up", "m", None, {}, "one", 1000.0, 0.0)


def nothing(_generation: Generation) -> None:
    """Nothing has come yet."""


def words(generation: Generation) -> None:
    """Words, and no count of them."""
    generation.partial.add_content(0, "nine char")


def counted_by_upstream(generation: Generation) -> None:
    """A total of the upstream's, of all that came."""
    words(generation)
    generation.partial.note_usage(Usage(10, 3), final=False)


def outgrown(generation: Generation) -> None:
    """Much more came behind the upstream's count."""
    counted_by_upstream(generation)
    generation.partial.add_content(0, "x" * 400)


def of_two_choices(generation: Generation) -> None:
    """Running totals of two choices, which add up, and a total that says less."""
    words(generation)
    for choice in (0, 1):
        generation.partial.note_usage(Usage(10, 20), final=False, choice=choice)
    generation.partial.note_usage(Usage(None, None, 4), final=False)


def with_own_prompt(generation: Generation) -> None:
    """Words, and a prompt that we have counted."""
    words(generation)
    generation.prompt = 7, UsageSource.TOKENIZER


def ended(generation: Generation) -> None:
    """All of it is counted."""
    words(generation)
    generation.counted = Counted(Usage(10, 33), UsageSource.UPSTREAM)


def priced(generation: Generation) -> None:
    """Counted and priced."""
    ended(generation)
    generation.priced = Priced(Decimal("0.5"), "USD", None)


@pytest.mark.parametrize("budget", [None, 50])
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize(
    "state", [nothing, words, counted_by_upstream, outgrown, of_two_choices, with_own_prompt, ended, priced]
)
def test_a_row_stands_where_its_numbers_say(
    state: Callable[[Generation], None], counts: bool, budget: int | None
) -> None:
    """The tokens and the cost that order the table are those in the row, whoever has counted them."""
    generation = Generation(FACTS, Partial())
    state(generation)
    registry: Any = []
    budgets: Any = SimpleNamespace(counted=lambda _uid: budget)
    relay: Any = SimpleNamespace(
        generation=generation,
        plan=SimpleNamespace(counts=counts),
        as_it_stands=None,
        rules=SimpleNamespace(pricing=SimpleNamespace(find=lambda *_: PRICE)),
        upstream=SimpleNamespace(settings=SimpleNamespace(base_url="http://127.0.0.1")),
    )
    so_far = SoFar(registry, budgets)
    usage, _, cost, _ = so_far.numbers(relay)
    assert so_far.tokens(relay) == usage.completion_tokens
    about = so_far.about_cost(relay)
    assert about == (None if cost is None else pytest.approx(float(cost)))

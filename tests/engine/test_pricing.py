"""Pricing a generation: which price is frozen, what it costs, and what is said when nobody knows."""

from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.core.generation import Counted, Facts, Generation, Identity, Priced, Stop
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.partial import Partial
from proxy.core.price_list import Entry, PriceList
from proxy.core.prices import Price, frozen, thawed
from proxy.core.record import Settlement, UsageSource
from proxy.core.usage import MAX_COUNT, Usage
from proxy.core.wildcards import Pattern
from proxy.engine.settling.pricing import WARNED, Pricing

URL = "https://api.example.com/v1"
USAGE = Usage(1_000_000, 500_000)


def a_price(amount: str = "2", *, model: str = "m", currency: str = "USD", version: str = "v+1") -> Price:
    """A price at which a million tokens cost the same wherever they are."""
    each = Decimal(amount)
    return Price(each, each, each, each, Decimal(0), currency, version, model)


def a_list(*models: str) -> PriceList:
    """A list in which a million tokens of each of these models cost 2."""
    return PriceList("v+1", "USD", [Entry(Pattern(model), a_price(model=model)) for model in models])


def ended(
    usage: Usage | None = USAGE,
    *,
    model: str | None = "m",
    answered: str | None = None,
    settlement: Settlement = Settlement.PRODUCED,
    stop: Cause | None = None,
    complete: bool = False,
) -> Generation:
    """An ended generation with these counts; None: nobody counted any."""
    identity = Identity("acme", "acme")
    facts = Facts(
        "u", "t", "g", identity, "openai", "/v1", "up", model, None, {}, "one", 1000.0, 0.0, settlement=settlement
    )
    generation = Generation(facts, Partial())
    generation.partial.upstream_model = answered
    if stop is not None:
        generation.request_stop(Stop(stop), 1.0)
    if stop is None or complete:
        generation.end(Outcome.COMPLETED, 2.0)
    else:
        generation.end_stopped(2.0, shown=False)
    if usage is not None:
        generation.counted = Counted(usage, UsageSource.UPSTREAM)
    return generation


class Asked:
    """A fallback that notes what it was asked."""

    def __init__(self, price: Price | None) -> None:
        self.price = price
        self.questions: list[dict[str, Any]] = []

    def find(self, **question: Any) -> Price | None:
        """Its price, whatever was asked."""
        self.questions.append(question)
        return self.price


def test_the_price_is_frozen_with_its_version() -> None:
    """A record has the cost, and the unit prices that it was made with."""
    generation = ended()
    generation.priced = Pricing("USD", a_list("m")).price(generation, URL)
    record = generation.record(3.0)
    assert (record.cost, record.currency) == (Decimal(3), "USD")
    assert thawed(record.price or "") == a_price()


def test_the_model_that_answered_is_priced() -> None:
    """One asked, another answered: that one has a price, or the one asked for has."""
    pricing = Pricing("USD", a_list("m", "big"))
    found = [pricing.find(ended(answered=name), URL) for name in ("big", "small", None)]
    assert [price and price.model for price in found] == ["big", "m", "m"]


@pytest.mark.parametrize("usage", [None, Usage(), Usage(7), Usage(None, 7)])
def test_without_counts_the_cost_is_unknown(usage: Usage | None) -> None:
    """It is None and never 0; the price is kept, for counts that come later."""
    assert Pricing("USD", a_list("m")).price(ended(usage), URL) == Priced(None, None, frozen(a_price()))


@pytest.mark.parametrize("usage", [None, USAGE])
@pytest.mark.parametrize("cause", list(Cause))
def test_a_void_stop_costs_nothing(cause: Cause, usage: Usage | None) -> None:
    """Whoever stopped it, and whether anything was counted or not: the cost is 0, and the price is kept."""
    generation = ended(usage, settlement=Settlement.VOID, stop=cause)
    assert Pricing("USD", a_list("m")).price(generation, URL) == Priced(Decimal(0), "USD", frozen(a_price()))
    assert Pricing("EUR", a_list("n")).price(generation, URL) == Priced(Decimal(0), "EUR", None)


def test_a_void_settlement_is_for_stops_only() -> None:
    """What completed costs what it costs, also when a stop came behind its end; so does another stop."""
    pricing = Pricing("USD", a_list("m"))
    for generation in (
        ended(settlement=Settlement.VOID),
        ended(settlement=Settlement.VOID, stop=Cause.CLIENT, complete=True),
        ended(stop=Cause.CLIENT),
        ended(settlement=Settlement.DRAINED, stop=Cause.CLIENT),
    ):
        assert pricing.price(generation, URL).cost == Decimal(3)


def test_an_unknown_price_is_said_once_for_each_model() -> None:
    """The cost is unknown; the log says so once, for so many models, whatever names callers make up."""
    pricing = Pricing("USD", a_list("m"))
    with capture_logs() as lines:
        for name in ("n", "n", "o", None):
            assert pricing.price(ended(model=name, answered="x"), URL) == Priced()
    assert [line["event"] for line in lines] == ["price.unknown"] * 3
    assert (lines[0]["model"], lines[0]["upstream"], lines[0]["upstream_model"]) == ("n", "up", "x")
    with capture_logs() as lines:
        for number in range(WARNED + 5):
            pricing.price(ended(model=f"made-up-{number}"), URL)
    assert len(lines) == WARNED - 3


def test_nothing_is_said_where_there_is_no_cost() -> None:
    """No prices at all, or a call that nobody counted: that is no news."""
    with capture_logs() as lines:
        assert Pricing("USD").price(ended(), URL) == Priced()
        assert Pricing("USD", a_list("m")).price(ended(None, model="n"), URL) == Priced()
    assert lines == []


def test_absurd_counts_have_no_cost() -> None:
    """An upstream that tells of more tokens than there can be is not believed; the log says so."""
    with capture_logs() as lines:
        priced = Pricing("USD", a_list("m")).price(ended(Usage(MAX_COUNT, 0)), URL)
    assert (priced.cost, priced.currency, priced.price) == (None, None, frozen(a_price()))
    assert [line["event"] for line in lines] == ["price.out_of_range"]


def test_the_fallback_is_asked_for_what_the_list_does_not_have() -> None:
    """The list goes first; the fallback hears of provider, models, time and the prompt's length."""
    fallback = Asked(a_price("4", version="genai-prices 0"))
    pricing = Pricing("USD", a_list("m"), fallback)
    assert pricing.price(ended(), URL).cost == Decimal(3)
    assert fallback.questions == []
    assert pricing.price(ended(model="n", answered="n-1"), URL).cost == Decimal(6)
    asked = {"base_url": URL, "asked": "n", "answered": "n-1", "at": 1000.0, "prompt_tokens": 1_000_000}
    assert fallback.questions == [asked]
    with capture_logs() as lines:
        assert Pricing("USD", None, Asked(None)).price(ended(), URL) == Priced()
    assert [line["event"] for line in lines] == ["price.unknown"]


def test_named_models() -> None:
    """The models that a list names are labels of metrics; without a list there are none."""
    assert Pricing("USD", a_list("m", "n*")).models == {"m"}
    assert Pricing("USD").models == set()

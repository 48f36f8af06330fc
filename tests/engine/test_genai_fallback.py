"""Prices of the package genai-prices: as its data has them, as decimals, and never from the network."""

import socket
import sys
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.prices import AMOUNTS, Price, cost
from proxy.core.usage import Usage
from proxy.engine.settling import genai_fallback
from proxy.engine.settling.genai_fallback import GenaiPrices, is_installed

OPENAI = "https://api.openai.com/v1"
NOW = datetime(2026, 8, 1, tzinfo=UTC).timestamp()

needs_package = pytest.mark.skipif(not is_installed(), reason="the extra prices is not installed")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a socket fails."""

    def refuse(*_: Any) -> None:
        raise AssertionError("somebody calls out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def find(prices: GenaiPrices, asked: str | None, base_url: str = OPENAI, **more: Any) -> Price | None:
    """Ask for a price."""
    known: dict[str, Any] = {"answered": None, "at": NOW, "prompt_tokens": 1}
    return prices.find(base_url=base_url, asked=asked, **(known | more))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: without it there is an ImportError, which the start explains."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(ImportError):
        GenaiPrices()


@needs_package
@pytest.mark.usefixtures("no_network")
def test_a_price_of_the_packages_data() -> None:
    """Unit prices are decimals for a million tokens, with the package's version and its own name of the model."""
    package: Any = pytest.importorskip("genai_prices")
    found = find(GenaiPrices(), "gpt-4o-mini")
    assert found is not None
    assert all(type(getattr(found, name)) is Decimal for name in AMOUNTS)
    assert (found.input, found.cached, found.output) == (Decimal("0.15"), Decimal("0.075"), Decimal("0.6"))
    assert (found.currency, found.model) == ("USD", "openai/gpt-4o-mini")
    assert found.version == f"genai-prices {package.__version__}"


@needs_package
@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        (OPENAI, "gpt-4o"),
        (OPENAI, "o3-2025-04-16"),
        ("https://api.groq.com/openai/v1", "openai/gpt-oss-120b"),
        ("https://api.deepseek.com", "deepseek-chat"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-pro"),
    ],
)
@pytest.mark.parametrize("prompt_tokens", [1000, 300_000])
def test_the_cost_is_what_the_package_says(base_url: str, model: str, prompt_tokens: int) -> None:
    """Our cost at its unit prices is its own, tiers for long prompts included."""
    package: Any = pytest.importorskip("genai_prices")
    usage = package.Usage(input_tokens=prompt_tokens, output_tokens=500, cache_read_tokens=100)
    at = datetime.fromtimestamp(NOW, UTC)
    theirs = package.calc_price(usage, model, provider_api_url=base_url, genai_request_timestamp=at)
    found = find(GenaiPrices(), model, base_url, prompt_tokens=prompt_tokens)
    assert found is not None
    assert cost(found, Usage(prompt_tokens, 500, 100)) == theirs.total_price


@needs_package
@pytest.mark.usefixtures("no_network")
def test_the_provider_is_known_by_its_address_first() -> None:
    """At a known address only that provider's prices count; at any other one the name decides."""
    prices = GenaiPrices()
    assert find(prices, "claude-sonnet-4-0") is None
    elsewhere = find(prices, "gpt-4o", "http://127.0.0.1:8000/v1")
    assert elsewhere is not None
    assert elsewhere.model == "openai/gpt-4o"
    assert find(prices, "my-own-model", "http://127.0.0.1:8000/v1") is None
    assert find(prices, None) is None
    assert find(prices, "x" * 10_000) is None


@needs_package
@pytest.mark.usefixtures("no_network")
def test_the_model_that_answered_goes_first() -> None:
    """As with the price list: one that is unknown leaves it to the one asked for."""
    prices = GenaiPrices()
    found = [find(prices, "gpt-4o", answered=name) for name in ("gpt-4o-mini", "nobody", None)]
    assert [price and price.model for price in found] == ["openai/gpt-4o-mini", "openai/gpt-4o", "openai/gpt-4o"]


@needs_package
@pytest.mark.usefixtures("no_network")
def test_names_of_callers_are_not_kept() -> None:
    """The package keeps every name that it is asked for; made-up ones must not fill the memory."""
    prices = GenaiPrices()
    snapshot: Any = pytest.importorskip("genai_prices.data_snapshot").get_snapshot()
    kept = [len(snapshot._lookup_cache), len(snapshot._provider_misses), len(snapshot._provider_cache)]
    for number in range(50):
        find(prices, f"gpt-4o-made-up-{number}")
        find(prices, f"made-up-{number}", "http://127.0.0.1:8000/v1")
    now = [len(snapshot._lookup_cache), len(snapshot._provider_misses), len(snapshot._provider_cache)]
    assert sum(now) - sum(kept) <= 2


@needs_package
def test_every_price_of_the_data_is_one_of_ours() -> None:
    """Whatever the package has for tokens can be taken, at any length of the prompt."""
    prices = GenaiPrices()
    now, found = datetime.fromtimestamp(NOW, UTC), 0
    for provider in prices._providers:
        for model in provider.models:
            for length in (0, 10_000_000):
                found += prices._price(model.get_prices(now), model.id, length) is not None
    assert found > 1000


def test_a_float_is_refused() -> None:
    """Data that is no decimal is an error, never a price."""
    with pytest.raises(TypeError, match="must be a Decimal, not float"):
        genai_fallback._amount(SimpleNamespace(base=0.15, tiers=[]), 1)

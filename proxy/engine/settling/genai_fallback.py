"""Prices of the package genai-prices, for models that the price list does not have.

Only the data that came with the package is used: it is never brought up to date from the network. Prices are USD.
"""

import importlib
import importlib.util
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any, Final

from proxy.core.price_list import LONGEST_NAME
from proxy.core.prices import PRICE_DIGITS, Price

PACKAGE: Final = "genai_prices"
NOT_INSTALLED: Final = (
    "prices.fallback: genai-prices is not installed; install it (pip install 'quell[prices]'), "
    "or set prices.fallback: none"
)

_CURRENCY: Final = "USD"
_MODELS_KEPT: Final = 1024
_UNIT: Final = Decimal(1).scaleb(-PRICE_DIGITS)
_THOUSAND: Final = 3


def is_installed() -> bool:
    """Whether the package is there; it is not loaded for that."""
    return importlib.util.find_spec(PACKAGE) is not None


class GenaiPrices:
    """The package's prices, a `Fallback`.

    The provider is known by the upstream's address; where that is nobody's, one is guessed from the model's name.
    """

    def __init__(self) -> None:
        """Load the data: a tenth of a second.

        Raises:
            ImportError: the package is not installed.
        """
        package = importlib.import_module(PACKAGE)
        snapshot = importlib.import_module(f"{PACKAGE}.data_snapshot").get_snapshot()
        self.version = f"genai-prices {package.__version__}"
        self._providers: list[Any] = snapshot.providers
        self._find_provider = snapshot.find_provider
        # The package's own look-ups keep every name that was ever asked for, and names come from callers.
        self._found = lru_cache(maxsize=_MODELS_KEPT)(self._look_up)

    def find(
        self, *, base_url: str, asked: str | None, answered: str | None, at: float, prompt_tokens: int | None
    ) -> Price | None:
        """See `Fallback`; the model that answered goes before the one asked for."""
        for name in (answered, asked):
            found = self._found(base_url, name) if name and len(name) <= LONGEST_NAME else None
            if found is not None:
                provider, model = found
                prices = model.get_prices(datetime.fromtimestamp(at, UTC))
                return self._price(prices, f"{provider.id}/{model.id}", prompt_tokens or 0)
        return None

    def _look_up(self, base_url: str, name: str) -> tuple[Any, Any] | None:
        provider = self._provider(base_url, name)
        model = None if provider is None else provider.find_model(name, all_providers=self._providers)
        return None if model is None else (provider, model)

    def _provider(self, base_url: str, name: str) -> Any:
        try:
            return self._find_provider(None, None, base_url)
        except LookupError:
            pass
        guesses = (each for each in self._providers if each.model_match is not None)
        return next((each for each in guesses if each.model_match.is_match(name.lower())), None)

    def _price(self, prices: Any, model: str, prompt_tokens: int) -> Price | None:
        """The unit prices; None where the package has none for tokens, but for seconds or pages."""

        def amount(key: str) -> Decimal | None:
            return _amount(getattr(prices, key, None), prompt_tokens)

        given, made, requests = amount("input_mtok"), amount("output_mtok"), amount("requests_kcount")
        if given is None or made is None:
            return None
        cached, reasoning = amount("cache_read_mtok"), amount("output_reasoning_mtok")
        return Price(
            input=given,
            output=made,
            cached=given if cached is None else cached,
            reasoning=made if reasoning is None else reasoning,
            per_request=Decimal(0) if requests is None else requests.scaleb(-_THOUSAND),
            currency=_CURRENCY,
            version=self.version,
            model=model,
        )


def _amount(found: Any, prompt_tokens: int) -> Decimal | None:
    """One price, to the digits that ours have. Long prompts may have another one, for all of their tokens.

    Raises:
        TypeError: it is no decimal.
    """
    if found is None:
        return None
    if not isinstance(found, Decimal):
        reached = [tier.price for tier in found.tiers if prompt_tokens > tier.start]
        found = reached[-1] if reached else found.base
    if not isinstance(found, Decimal):
        raise TypeError(f"a price must be a Decimal, not {type(found).__name__}")
    return found.quantize(_UNIT, ROUND_HALF_EVEN)

"""Building what the settings describe: upstreams, prices, budgets. At the start, and again at each reload."""

from collections.abc import Mapping

import structlog

from proxy.core.encodings import AUTO, each_encoding
from proxy.core.settings.settings import PricesSettings, Settings, UpstreamSettings
from proxy.dialects import DIALECTS
from proxy.edge.admin.errors import ReloadError
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.engine.limits.budgets import Prepared
from proxy.engine.settling.genai_fallback import NOT_INSTALLED, GenaiPrices
from proxy.engine.settling.pricing import Pricing
from proxy.engine.telemetry.expected_series import expect
from proxy.engine.telemetry.metrics import Metrics
from proxy.engine.upstreams.upstream import Upstream
from proxy.stores.ledger.port import LedgerUnavailableError

log = structlog.get_logger()


async def build_runtime(settings: Settings, old: Mapping[str, Upstream], metrics: Metrics) -> Runtime:
    """The parts that the settings describe; of the `old` upstreams those stay that did not change.

    Raises:
        ReloadError: an upstream can't be made, or a package is missing; with what is wrong with the settings.
    """
    pricing = _pricing(settings.prices)
    upstreams: dict[str, Upstream] = {}
    try:
        for name, upstream in settings.upstreams.items():
            upstreams[name] = _upstream(name, upstream, old.get(name))
    except OSError as error:  # ssl.SSLError is one: a file that is there, but has no certificate in it
        for made in set(upstreams.values()) - set(old.values()):
            await made.close()
        why = f"upstreams.{name}.ca_file has no certificates in PEM form that can be used"
        raise ReloadError([f"{why} ({type(error).__name__})"]) from error
    models = {route.model for route in settings.routes if route.model} | pricing.models
    expect(metrics, settings, models)
    return Runtime(settings, upstreams, DIALECTS, pricing)


async def prepare_budgets(settings: Settings, engine: Engine) -> Prepared:
    """The budgets, with what was used of them so far.

    Raises:
        ReloadError: the ledger, which has that, can't be read.
    """
    try:
        return await engine.budgets.prepare(settings.budgets, lambda: engine.registry)
    except LedgerUnavailableError as error:
        raise ReloadError([f"budgets: what was used of them so far is not known: {error}"]) from error


def encodings(settings: Settings) -> list[str]:
    """The vocabularies that the settings name, to be loaded before they are needed."""
    named = [each for upstream in settings.upstreams.values() for each in each_encoding(upstream.encoding)]
    return [each for each in named if each != AUTO]


def _upstream(name: str, settings: UpstreamSettings, old: Upstream | None) -> Upstream:
    """The upstream of these settings; one that did not change keeps its connections and its slots."""
    return old if old is not None and old.settings == settings else Upstream(name, settings)


def _pricing(settings: PricesSettings) -> Pricing:
    """The prices of these settings.

    Raises:
        ReloadError: the package with the fallback's prices is not installed.
    """
    table = settings.table
    try:
        fallback = GenaiPrices() if settings.fallback == "genai-prices" else None
    except ImportError as error:
        raise ReloadError([NOT_INSTALLED]) from error
    if table is not None:
        log.info("prices.read", version=table.version, currency=table.currency, entries=len(table.entries))
    return Pricing(settings.currency, table, fallback)

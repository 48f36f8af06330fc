"""The settings: what the config file says, as frozen typed objects (contract: section "The config file").

Durations are seconds, sizes are bytes. The types know nothing of files and environment, which `proxy.config_file`
reads. Everything of the settings is imported from here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr

from proxy.core.settings.abort import AbortSettings
from proxy.core.settings.admin import AdminSettings, AdminTokenSettings
from proxy.core.settings.origin import Origin
from proxy.core.settings.route import CorsSettings, DialectName, InputSettings, RouteSettings
from proxy.core.settings.scalar_types import NAME_PATTERN, Address, Count, Listen, Name, Section
from proxy.core.settings.sections import (
    BudgetSettings,
    BusSettings,
    CancellationSettings,
    ConversationSettings,
    DrainSettings,
    KeyLimits,
    KeySettings,
    LedgerSettings,
    LimitsSettings,
    LogSettings,
    MetricsSettings,
    ObservabilitySettings,
    PricesSettings,
    SinkSettings,
)
from proxy.core.settings.upstream import (
    QueueSettings,
    ReadOnSettings,
    TimeoutSettings,
    UpstreamSettings,
)
from proxy.core.settings.urls import TrustedNetwork, without_credentials

__all__ = [
    "AbortSettings",
    "Address",
    "AdminSettings",
    "AdminTokenSettings",
    "BudgetSettings",
    "BusSettings",
    "CancellationSettings",
    "ConversationSettings",
    "CorsSettings",
    "DialectName",
    "DrainSettings",
    "InputSettings",
    "KeyLimits",
    "KeySettings",
    "LedgerSettings",
    "LimitsSettings",
    "LogSettings",
    "MetricsSettings",
    "ObservabilitySettings",
    "PricesSettings",
    "QueueSettings",
    "ReadOnSettings",
    "RouteSettings",
    "Settings",
    "SinkSettings",
    "TimeoutSettings",
    "UpstreamSettings",
    "masked",
]


def _named(upstreams: Mapping[str, UpstreamSettings]) -> Mapping[str, UpstreamSettings]:
    return {name: upstream.named(name) for name, upstream in upstreams.items()}


class Settings(Section):
    """The whole file."""

    version: Literal[1] = Field(description="The version of the file's shape.")
    listen: Listen = Field(Address("127.0.0.1", 8484), description="HOST:PORT that callers reach.")
    admin: AdminSettings = Field(AdminSettings(), description="The admin listener.")
    upstreams: Annotated[Mapping[Name, UpstreamSettings], AfterValidator(_named)] = Field(
        min_length=1, description="The model providers, by name."
    )
    routes: tuple[RouteSettings, ...] = Field(min_length=1, description="What is served, and by which upstream.")
    keys: tuple[KeySettings, ...] = Field(
        (), description="Who gets in. None: everybody, known by a hash of the credential they send."
    )
    cancellation: CancellationSettings = Field(CancellationSettings(), description="How a stop looks.")
    limits: LimitsSettings = Field(LimitsSettings(), description="The bounds of this replica.")
    budgets: tuple[BudgetSettings, ...] = Field((), description="What may be used.")
    trusted_proxies: tuple[TrustedNetwork, ...] = Field((), description="Whose X-Forwarded-* is believed.")
    conversations: ConversationSettings = Field(ConversationSettings(), description="How long conversations are kept.")
    workers: Count = Field(1, description="Processes; more than one only with a bus.")
    replica: Annotated[str, Field(pattern=NAME_PATTERN)] = Field("auto", description="This replica's name.")
    ledger: LedgerSettings = Field(LedgerSettings(), description="The billing record.")
    bus: BusSettings = Field(BusSettings(), description="What joins replicas.")
    prices: PricesSettings = Field(PricesSettings(), description="What tokens cost.")
    sink: SinkSettings = Field(SinkSettings(), description="Where events are sent.")
    observability: ObservabilitySettings = Field(ObservabilitySettings(), description="Log, metrics, traces.")
    drain: DrainSettings = Field(DrainSettings(), description="The end of this replica.")

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @property
    def origin(self) -> Origin:
        """Where the values come from."""
        return self._origin

    def coming_from(self, origin: Origin) -> Self:
        """Say where the values come from; whoever makes the settings does so."""
        self._origin = origin
        return self


def masked(settings: Settings) -> dict[str, Any]:
    """The settings as JSON-ready values under the file's keys, every secret replaced by asterisks."""
    shown = settings.model_dump(mode="json", by_alias=True)
    for section in (shown["ledger"], shown["bus"], shown["sink"]):
        section["url"] = section["url"] and without_credentials(section["url"])
    for upstream in shown["upstreams"].values():
        upstream["proxy"] = upstream["proxy"] and without_credentials(upstream["proxy"])
    shown["listen"] = str(settings.listen)
    shown["admin"]["listen"] = str(settings.admin.listen)
    return shown

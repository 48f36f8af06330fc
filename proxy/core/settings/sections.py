"""The settings of everything but upstreams and routes: one small section each."""

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, model_validator

from proxy.core.bus_address import check_bus_url
from proxy.core.ledger_address import SCHEME
from proxy.core.price_list import PriceList
from proxy.core.settings.hashes import check_hashes, hash_lines
from proxy.core.settings.otel import OtelSettings
from proxy.core.settings.scalar_types import Count, Duration, DurationOrZero, HeaderName, Name, Section, Size, misplaced
from proxy.core.settings.upstream import Credential, HeaderValue
from proxy.core.settings.urls import LedgerUrl, check_service_url

_LEAST_SECRET = 16
_LEAST_LEASE = 4
"""Seconds."""
_OWN_HEADERS = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "expect", "host", "transfer-encoding"}
)


def _not_reserved(name: str) -> str:
    if name == "anonymous":
        raise ValueError("anonymous is the name of callers without a credential; choose another id")
    return name


class KeyLimits(Section):
    """What one key may use at once."""

    streams: Count | None = Field(None, description="Generations at once. null: no bound of its own.")


class KeySettings(Section):
    """One caller that gets in. `id` is its identity, shown everywhere; the key itself is nowhere kept."""

    id: Annotated[Name, AfterValidator(_not_reserved)] = Field(description="The identity of whoever holds the key.")
    hash: Annotated[SecretStr, check_hashes("key")] | None = Field(
        None,
        description="SHA-256 of the key as 64 hex digits; several, one a line, while a key is exchanged.",
        repr=False,
    )
    hash_file: Path | None = Field(None, description="The file that holds hash.")
    limits: KeyLimits = Field(KeyLimits(), description="What the key may use at once.")

    @model_validator(mode="after")
    def _has_a_hash(self) -> Self:
        if self.hash is None and self.hash_file is None:
            raise misplaced("id", "the key has no hash_file (or hash), so that nobody could use it")
        return self

    @cached_property
    def hashes(self) -> frozenset[str]:
        """The SHA-256 of every key that is accepted for this id, as lower-case hex."""
        return frozenset(hash_lines(self.hash.get_secret_value())) if self.hash else frozenset()


class CancellationSettings(Section):
    """How a stop looks and how long it is waited for."""

    finish_reason: Literal["stop", "cancelled"] = Field(
        "stop", description="What a stopped OpenAI chat stream ends with."
    )
    quick_edit_window: DurationOrZero = Field(5.0, description="Aitronos: how long after its start a stop is an edit.")
    confirm_timeout: Duration = Field(2.0, description="How long a stop waits for the upstream to be closed.")


class LimitsSettings(Section):
    """The bounds of this replica."""

    streams: Count = Field(5000, description="Generations at once; one more is answered with 503.")
    body: Size = Field(20 * 2**20, description="Size of a request body.")
    header: Size = Field(32 * 2**10, description="Size of all request headers together.")
    partial_text: Size = Field(2**20, description="Text kept of one answer.")
    tape: Size = Field(8 * 2**20, description="Client-side bytes kept of one generation.")
    write_deadline: Duration = Field(60.0, description="A reader that takes nothing for so long counts as gone.")
    body_deadline: Duration = Field(30.0, description="How long a request body may take to arrive.")


class BudgetSettings(Section):
    """What one request, user or key may use, a user or key within a window."""

    per: Literal["request", "user", "key"] = Field(description="Whose use is counted.")
    window: Duration | None = Field(
        None, description="Over which time, for user and key; windows follow each other, 1d is a day of UTC."
    )
    seconds: Decimal | None = Field(None, gt=0, description="Seconds of generation.")
    completion_tokens: Count | None = Field(None, description="Completion tokens.")
    cost: Decimal | None = Field(None, gt=0, description="Cost, in the currency of prices.")

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.seconds is None and self.completion_tokens is None and self.cost is None:
            raise misplaced("per", "a budget needs at least one of seconds, completion_tokens, cost")
        if self.per != "request" and self.window is None:
            each = "per: request limits each generation by itself"
            raise misplaced("per", f"a budget per {self.per} needs a window, such as window: 1d; {each}")
        if self.per == "request" and self.window is not None:
            raise misplaced("window", "a request is counted by itself, without a window; did you mean per: key?")
        return self


class ConversationSettings(Section):
    """How long conversations are kept, for the dialects that have them."""

    keep: Duration = Field(2_592_000.0, description="Conversations, after their last message.")
    async_keep: Duration = Field(3600.0, description="Async messages, after their end.")


def _names_a_file(path: Path) -> Path:
    if not path.name:
        raise ValueError("expected the name of a file, such as /var/lib/quell/spool.db")
    return path


class LedgerSettings(Section):
    """The billing record."""

    url: LedgerUrl = Field(
        "sqlite:///quell.db", description="sqlite:///FILE or postgresql://…; never shown with its password.", repr=False
    )
    spool: Annotated[Path, AfterValidator(_names_a_file)] = Field(
        Path("quell.db"), description="With postgresql: this replica's own file, which takes the records first."
    )
    backlog: Count = Field(
        1_000_000, description="With postgresql: so many records may wait for it; then new work is refused."
    )
    keep: Duration = Field(7_776_000.0, description="How long records are kept.")
    text: Literal["none", "partial", "all"] = Field("partial", description="Whose answer text is kept.")
    text_keep: Duration = Field(86_400.0, description="How long text is kept.")
    flush: Duration = Field(0.25, description="How often partial text is written.")
    reserve: Size = Field(64 * 2**20, description="Below so much free disk space, new work is refused.")
    durability: Literal["overlapped", "strict"] = Field(
        "overlapped", description="A start is on disk before the client's first byte, or before the upstream is called."
    )

    @property
    def is_shared(self) -> bool:
        """Whether it is in PostgreSQL, for all replicas."""
        return self.url.startswith(SCHEME)

    @property
    def file_url(self) -> str:
        """The URL of the local file: the ledger itself, or the spool of a shared one."""
        return f"sqlite:///{self.spool}" if self.is_shared else self.url

    @model_validator(mode="after")
    def _spools_for_somebody(self) -> Self:
        if not self.is_shared and self.model_fields_set & {"spool", "backlog"}:
            named = min(self.model_fields_set & {"spool", "backlog"})
            raise misplaced(named, "this belongs to a ledger in PostgreSQL; url names a file of SQLite")
        return self


class BusSettings(Section):
    """What joins replicas."""

    url: Annotated[str, AfterValidator(check_bus_url)] | None = Field(
        None,
        description="redis://…, redis+sentinel://HOST,HOST/NAME or redis+cluster://HOST,HOST, or with rediss over TLS. "
        "null: this replica is alone.",
        repr=False,
    )
    secret: SecretStr | None = Field(None, description="Signs what replicas tell each other.", repr=False)
    secret_file: Path | None = Field(None, description="The file that holds secret.")
    lease: Duration = Field(10.0, description="A replica unheard of for so long is dead.")
    shares: Count = Field(
        1, description="Replicas that are expected: while the bus is away, each allows one of so many parts of a limit."
    )

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.url is not None and self.secret is None and self.secret_file is None:
            raise misplaced("url", "a bus needs a secret_file (or secret), the same for all replicas: it signs stops")
        if self.secret is not None and len(self.secret.get_secret_value()) < _LEAST_SECRET:
            where = "secret" if self.secret_file is None else "secret_file"
            raise misplaced(where, f"expected at least {_LEAST_SECRET} characters; openssl rand -hex 32 makes a secret")
        if self.lease < _LEAST_LEASE:
            raise misplaced("lease", f"expected at least {_LEAST_LEASE}s: it is renewed once a second")
        return self


class PricesSettings(Section):
    """What tokens cost. `table` is what the file says."""

    file: Path | None = Field(None, description="The price list.")
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = Field("USD", description="The currency, in three letters.")
    fallback: Literal["none", "genai-prices"] = Field("none", description="For models that are not in the file.")

    _table: PriceList | None = PrivateAttr(None)

    @property
    def table(self) -> PriceList | None:
        """The price list, once it was read; None without a file."""
        return self._table

    def with_table(self, table: PriceList) -> Self:
        """Give it what its file says; whoever reads the files does so, once."""
        self._table = table
        return self

    @model_validator(mode="after")
    def _fallback_fits(self) -> Self:
        if self.fallback == "genai-prices" and self.currency != "USD":
            raise misplaced("fallback", f"genai-prices has prices in USD only, and currency is {self.currency}")
        return self


class SinkSettings(Section):
    """Where ended generations are sent, as CloudEvents."""

    url: Annotated[str, check_service_url(("http", "https"))] | None = Field(
        None, description="Takes batches of CloudEvents by POST. null: nobody.", repr=False
    )
    token: Credential | None = Field(None, description="Sent along as Authorization: Bearer.", repr=False)
    token_file: Path | None = Field(None, description="The file that holds token.")
    headers: Mapping[HeaderName, HeaderValue] = Field({}, description="Further headers of each POST.", repr=False)
    source: Annotated[str, Field(pattern=r"^[!-~]{1,256}$")] = Field(
        "quell", description="The events' source; with their ids it tells one event from every other."
    )

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if self.url is None:
            return self
        named = {name.lower() for name in self.headers}
        if taken := sorted(named & _OWN_HEADERS):
            raise misplaced("headers", f"{taken[0]} is set by Quell itself; leave it out")
        in_url = "@" in urlsplit(self.url).netloc
        given = [self.token is not None or self.token_file is not None, in_url, "authorization" in named]
        if sum(given) > 1:
            raise misplaced("url", "more than one of token, a password in url, and a header Authorization; keep one")
        return self


class LogSettings(Section):
    """The log, on standard error."""

    format: Literal["auto", "json", "pretty"] = Field("auto", description="auto: pretty on a terminal, else json.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level that is written.")


class MetricsSettings(Section):
    """The metrics on the admin listener."""

    max_series: Count = Field(5000, description="Bound of series; names beyond it are told under other.")


class ObservabilitySettings(Section):
    """Log, metrics, traces."""

    log: LogSettings = Field(LogSettings(), description="The log.")
    metrics: MetricsSettings = Field(MetricsSettings(), description="The metrics.")
    otel: OtelSettings = Field(OtelSettings(), description="OpenTelemetry.")


class DrainSettings(Section):
    """The end of this replica, from SIGTERM to exit."""

    ready_delay: DurationOrZero = Field(5.0, description="New work is still served for so long, not ready already.")
    timeout: DurationOrZero = Field(60.0, description="How long running generations may take after that.")

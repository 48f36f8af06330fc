"""The settings of an upstream: a model provider, and how it is called, awaited and stopped."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, PrivateAttr, SecretStr, WithJsonSchema, model_validator

from proxy.core.encodings import AUTO, EncodingSetting, check_encoding
from proxy.core.settings.abort import AbortSettings
from proxy.core.settings.scalar_types import Count, CountOrZero, Duration, Section, misplaced
from proxy.core.settings.urls import BaseUrl, ProxyUrl


def _header_safe(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text:
        raise ValueError("is empty: set the variable or the file that it comes from, or remove the key")
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("contains a blank, a line break or a non-ASCII character, which a header can't carry")
    return secret


Credential = Annotated[SecretStr, AfterValidator(_header_safe)]
"""A secret that travels in a header: not empty, printable ASCII, no blanks."""


def _whole_value(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", secret.get_secret_value()):
        raise ValueError("expected printable ASCII that neither begins nor ends with a blank, such as Bearer ${TOKEN}")
    return secret


HeaderValue = Annotated[SecretStr, AfterValidator(_whole_value)]
"""All that stands behind a header's name, such as a scheme and its credential."""


def _encodings(value: object) -> EncodingSetting:
    if isinstance(value, str):
        return check_encoding(value)
    if not isinstance(value, Mapping) or not value:
        raise ValueError("expected auto, a name, a vocabulary file, or a table of these by patterns of model names")
    for pattern, encoding in value.items():
        if not isinstance(pattern, str) or not isinstance(encoding, str):
            raise misplaced(str(pattern), "expected auto, a name, or a vocabulary file")
        try:
            check_encoding(encoding)
        except ValueError as error:
            raise misplaced(pattern, str(error)) from None
    return dict(value)


Encodings = Annotated[
    str | Mapping[str, str],
    PlainValidator(_encodings),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]}),
]
"""What tokens are counted with: for every model the same, or by patterns of model names."""


class TimeoutSettings(Section):
    """How long the upstream may take, each in seconds."""

    connect: Duration = Field(5.0, description="To be connected, TLS included.")
    first_byte: Duration = Field(120.0, description="From the request sent to the first byte of the answer.")
    idle: Duration = Field(120.0, description="Between two pieces of the answer.")
    total: Duration = Field(1800.0, description="For the whole call.")


class QueueSettings(Section):
    """The line in front of an upstream whose slots are all taken."""

    size: CountOrZero = Field(1000, description="Calls that may wait; one more is answered with 429.")
    timeout: Duration = Field(30.0, description="How long one may wait; then it is answered with 503.")


class ReadOnSettings(Section):
    """The bounds of reading on after a stop, for a provider that bills the whole answer anyway."""

    streams: Count = Field(20, description="Calls read on at once.")
    time: Duration = Field(300.0, description="How long one is read on.")
    tokens: Count = Field(100_000, description="How many completion tokens of one are read on.")


class UpstreamSettings(Section):
    """One model provider. `name` is its key under `upstreams`."""

    base_url: BaseUrl = Field(description="Where the provider's API starts; a route's path is replaced by it.")
    api_key: Credential | None = Field(
        None, description="The credential sent upstream; without it the caller's own goes up.", repr=False
    )
    api_key_file: Path | None = Field(None, description="The file that holds api_key.")
    format: Literal["openai", "anthropic", "gemini"] = Field("openai", description="Wire format of this provider.")
    on_stop: Literal["close", "call", "drain"] = Field(
        "close",
        description="close the connection, call the provider's own abort route, or drain: it bills anyway, so read on.",
    )
    bills_after_close: Literal["no", "yes", "unknown"] = Field(
        "unknown",
        description="Whether the provider bills on after a closed connection; decides what a stop is said to save.",
    )
    usage: Literal["auto", "final", "continuous", "none"] = Field(
        "auto", description="What is asked of the upstream for counting; auto asks only what it is known to take."
    )
    timeouts: TimeoutSettings = Field(TimeoutSettings(), description="How long the upstream may take.")
    slots: Count | None = Field(None, description="At most so many calls at once; the rest waits. null: no bound.")
    queue: QueueSettings = Field(QueueSettings(), description="The line in front of the slots.")
    abort: AbortSettings | None = Field(None, description="The provider's abort call, for on_stop: call.")
    drain: ReadOnSettings = Field(ReadOnSettings(), description="The bounds of reading on, for on_stop: drain.")
    encoding: Encodings = Field(
        AUTO,
        description="Tokenizer for counting: auto, a name, a vocabulary file, or a table of these by model patterns.",
    )
    ca_file: Path | None = Field(None, description="PEM file with the authorities trusted for this upstream.")
    proxy: ProxyUrl | None = Field(None, description="HTTP proxy on the way to the upstream.", repr=False)

    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """The key under `upstreams`; empty for one that stands alone."""
        return self._name

    def named(self, name: str) -> Self:
        """Give it its name; the settings' root does so, once."""
        self._name = name
        return self

    @model_validator(mode="after")
    def _abort_fits(self) -> Self:
        if self.on_stop == "call" and self.abort is None:
            raise misplaced("on_stop", "call needs abort: {method, path}, the route that stops a call")
        if self.abort is not None and self.on_stop != "call":
            raise misplaced("abort", f"is used by on_stop: call only, and on_stop is {self.on_stop}")
        if self.abort is not None and not self.abort.fits(self.base_url):
            raise misplaced("abort", "its address is at another host than base_url, which is to get no credential")
        return self

"""The settings of OpenTelemetry: where spans and metrics are sent, and how many."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from proxy.core.settings.scalar_types import Duration, HeaderName, Name, Section
from proxy.core.settings.upstream import HeaderValue
from proxy.core.settings.urls import check_base_url


class OtelSettings(Section):
    """Spans and metrics by OTLP over HTTP, to a collector or whoever takes that."""

    endpoint: Annotated[str, AfterValidator(check_base_url)] | None = Field(
        None, description="Such as http://127.0.0.1:4318; /v1/traces and /v1/metrics are added. null: nobody."
    )
    headers: Mapping[HeaderName, HeaderValue] = Field({}, description="Headers of each export.", repr=False)
    service: Name = Field("quell", description="The service.name of all that is sent.")
    sample: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="The part of the traces that begin here that is sent; others are as their caller decided."
    )
    interval: Duration = Field(60.0, description="How often metrics are sent.")

"""The provider's own abort call: a closed connection alone does not stop every provider."""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from proxy.core.generation import Generation
from proxy.core.headers import CREDENTIALS, HeaderPair
from proxy.core.settings.settings import AbortSettings
from proxy.engine.failures import log_failure
from proxy.engine.telemetry.metrics import Metrics
from proxy.engine.upstreams.upstream import Upstream, UpstreamError

log = structlog.get_logger()

ANSWER_SECONDS: Final = 5.0
"""How long the provider may take to answer, besides the time that a connection may take."""
OK: Final = range(200, 300)


def abort_headers(headers: Iterable[HeaderPair]) -> list[HeaderPair]:
    """The headers of the abort call, from those of the call: the host and the credential that it went up with."""
    kept = [(name, value) for name, value in headers if name.lower() in CREDENTIALS or name.lower() == "host"]
    return [*kept, ("Accept", "application/json")]


class Aborter:
    """Makes these calls. What comes of one is in the log and the metrics, and nowhere else."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def abort(self, upstream: Upstream, generation: Generation, headers: list[HeaderPair]) -> None:
        """Tell an upstream to abort a generation whose connection was closed. Never raises."""
        settings, task_id = upstream.settings.abort, generation.facts.task_id
        if settings is None:
            return
        try:
            with upstream.in_use():
                result, status = await self._call(upstream, settings, generation, headers)
        except Exception as error:  # noqa: BLE001 a defect here must not look like one of whoever stopped
            log_failure("abort.failed", error, task_id=task_id)
            result, status = "failed", None
        self._metrics.aborted(upstream.name, result)
        tell = log.info if result == "ok" else log.warning
        tell("upstream.abort", task_id=task_id, upstream=upstream.name, result=result, status=status)

    async def _call(
        self, upstream: Upstream, settings: AbortSettings, generation: Generation, headers: list[HeaderPair]
    ) -> tuple[str, int | None]:
        named = generation.partial.upstream_id
        if settings.needs_upstream_id and (named is None or not named.strip(".")):
            return "unnamed", None
        ids = {"upstream_id": named or "", "task_id": generation.facts.task_id}
        url, body = settings.url(upstream.settings.base_url, ids), settings.content(ids)
        if body:
            headers = [*headers, ("Content-Type", "application/json")]
        seconds = upstream.settings.timeouts.connect + ANSWER_SECONDS
        try:
            async with asyncio.timeout(seconds):
                answer = await upstream.open(settings.method, url, headers, body or None, lambda: None)
        except TimeoutError:
            return "timeout", None
        except UpstreamError as error:
            return error.kind.value, None
        answer.close()
        return ("ok" if answer.status in OK else "refused"), answer.status

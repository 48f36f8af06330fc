"""What an operator reads of the whole proxy: upstreams, settings, metrics, probes; and the reload."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest

from proxy.config_file.told_values import told_values
from proxy.core.budget import Budget, Limit
from proxy.core.errors import Refusal
from proxy.core.generation import REFUSED
from proxy.core.lifecycle import Phase
from proxy.core.money import cost_text
from proxy.core.receipt import iso
from proxy.core.settings.settings import masked
from proxy.core.use import Use
from proxy.edge.admin.errors import ReloadError
from proxy.edge.admin.query import flag, json_fields, parameters
from proxy.edge.asked import small_body
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.engine.limits.standings import Standing
from proxy.engine.upstreams.news import News


class AdminReports:
    """The calls of the admin API that are about no single generation. Each gives what is answered as JSON."""

    def __init__(self, engine: Engine, reload: Callable[[], Awaitable[list[str]]]) -> None:
        """`reload` takes new settings, gives what waits for a restart, and raises `ReloadError`."""
        self._engine = engine
        self._reload = reload

    async def upstreams(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """The providers, with what runs there now; none of them is called."""
        parameters(http, ())
        calls = dict.fromkeys(runtime.upstreams, 0)
        answered: dict[str, float] = {}
        now = time.time()
        for relay in self._engine.registry:
            is_called = relay.read_on is not None or relay.generation.phase not in (Phase.QUEUED, Phase.FINISHED)
            if relay.upstream.name in calls and is_called:
                calls[relay.upstream.name] += 1
            begun, status = relay.generation.first_token, relay.generation.status
            if begun is not None and (status or 0) < REFUSED:
                at = now - self._engine.now() + begun
                answered[relay.upstream.name] = max(at, answered.get(relay.upstream.name, at))
        data = [
            {
                "name": name,
                "base_url": upstream.settings.base_url,
                "calls": calls[name],
                "slots": upstream.settings.slots,
                "waiting": upstream.slots.waiting,
                "reading_on": upstream.reading_on,
                "bills_after_close": upstream.settings.bills_after_close,
                "on_stop": upstream.settings.on_stop,
                "format": upstream.settings.format,
                **_news(self._engine.news.of(name), now, answered.get(name)),
            }
            for name, upstream in runtime.upstreams.items()
        ]
        return {"object": "list", "data": data}

    async def budgets(self, http: web.BaseRequest, _runtime: Runtime) -> dict[str, Any]:
        """The budgets in force, when their windows end, how many have used them up, and who is over or near them.

        With `shared` false these numbers are what this replica knows by itself, and its share of the limits holds.
        """
        parameters(http, ())
        standings = self._engine.budgets.standings(time.time())
        return {"object": "list", "data": [_standing(each, self._is_shared(each.budget)) for each in standings]}

    def _is_shared(self, budget: Budget) -> bool | None:
        sharing = self._engine.sharing
        return None if sharing is None or budget.window is None else sharing.away is None

    async def config(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """The settings in force, every secret masked, and where each value comes from."""
        parameters(http, ())
        settings = runtime.settings
        return {
            "object": "config",
            "file": settings.origin.file,
            "loaded_at": iso(runtime.loaded_at),
            "settings": masked(settings),
            "values": told_values(settings),
        }

    async def purge(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """Apply retention now, or delete the records that ended before a time; with `dry_run` only say how many."""
        parameters(http, ())
        fields = json_fields(await small_body(http, runtime.settings.limits), ("before", "dry_run"))
        before, dry_run = _moment(fields.get("before")), flag(fields, "dry_run")
        texts, records = await self._engine.ledger.purge(time.time(), before=before, dry_run=dry_run)
        return {"object": "ledger.purge", "dry_run": dry_run, "texts": texts, "records": records}

    async def reload(self, http: web.BaseRequest, _runtime: Runtime) -> dict[str, Any]:
        """Read the config file again and take it as a whole, or not at all."""
        parameters(http, ())
        try:
            waiting = await self._reload()
        except ReloadError as error:
            message = "The new settings are not taken, the old ones stay:\n" + "\n".join(error.problems)
            raise Refusal(422, "config_rejected", message) from error
        return {"object": "config.reload", "needs_restart": waiting}


def _news(news: News, now: float, answered: float | None) -> dict[str, Any]:
    """How an upstream's calls went lately; `answered`: when the newest one that runs had its first byte."""
    error, good = news.last_error, max(news.last_success or 0.0, answered or 0.0)
    return {
        "state": news.state(answered),
        "errors": news.errors(now),
        "last_error": None if error is None else {"at": iso(error[0]), "kind": error[1]},
        "last_success_at": iso(good) if good else None,
    }


def _standing(each: Standing, is_shared: bool | None) -> dict[str, Any]:
    budget, limits = each.budget, each.budget.limits
    return {
        "per": budget.per,
        "window_seconds": budget.window,
        "limits": {limit: str(limits.value(limit)) for limit in budget.limited},
        "window_ends_at": None if each.ends_at is None else iso(each.ends_at),
        "used_up": each.used_up,
        "nearest": [
            {
                "key_id": near.key_id,
                "user": near.user,
                "used": {limit: _used(near.use, limit) for limit in budget.limited},
                "percent": round(near.part * 100, 1),
                "used_up": near.is_used_up,
            }
            for near in each.nearest
        ],
        "shared": is_shared,
    }


def _used(use: Use, limit: Limit) -> str:
    match limit:
        case "seconds":
            return f"{use.seconds:.3f}"
        case "completion_tokens":
            return str(use.completion_tokens)
        case "cost":
            return cost_text(use.cost)


def _moment(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= time.time():
        message = "before must be a time in the past, in seconds since the epoch."
        raise Refusal.bad_request("invalid_parameter", message, "before")
    return float(value)


async def metrics_answer(http: web.BaseRequest, engine: Engine) -> web.Response:
    """The metrics in the format that the scraper prefers, rendered in a thread."""
    try:
        encode, content_type = choose_encoder(http.headers.get(hdrs.ACCEPT, ""))
    except (TypeError, ValueError):  # what it makes of a version that is no number
        encode, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    engine.look()
    body = await asyncio.to_thread(encode, engine.metrics.registry)
    return web.Response(body=body, headers={"Content-Type": content_type})


def readiness(http: web.BaseRequest, checks: dict[str, bool]) -> tuple[int, dict[str, Any]]:
    """Status and answer of the readiness probe: not ready, the checks that fail; with `?verbose` all of them."""
    is_ready = all(checks.values())
    answer: dict[str, Any] = {"status": "ready" if is_ready else "not_ready"}
    if "verbose" in http.query:
        answer["checks"] = checks
    elif not is_ready:
        answer["checks"] = {name: passes for name, passes in checks.items() if not passes}
    return (200 if is_ready else 503), answer

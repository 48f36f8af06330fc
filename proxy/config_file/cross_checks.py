"""What can only be seen across sections.

The errors are looked for in the plain values, so that they are found together with all others; the warnings in valid
settings only.
"""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.config_file.claims import find_claims
from proxy.config_file.formats import find_misfits
from proxy.config_file.problems import Loc, did_you_mean
from proxy.config_file.token_checks import same_names, same_tokens, token_warnings
from proxy.config_file.values import Findings
from proxy.core.ledger_address import parse_ledger_address
from proxy.core.lifecycle import OnDisconnect
from proxy.core.settings.settings import Address, RouteSettings, Settings, UpstreamSettings
from proxy.core.settings.urls import check_route_path
from proxy.core.settings.worker import HIGHEST_PORT, admin_ports
from proxy.core.templates import VARIABLE, variables

NO_KEYS: Final = (
    "others can reach this listener, and there are no keys: callers that send no credential are one identity, "
    "anonymous, and may stop each other's generations"
)

_PORTS = {"http": 80, "https": 443}
_PASSED_ON = frozenset({"openai", "anthropic"})
"""The dialects that pass every path on; of a translated one only its own calls go up."""
_CALLS = ("/chat/completions", "/messages")
_EVERY_INTERFACE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound


def find_errors(raw: dict[str, Any], findings: Findings) -> None:
    """Errors between sections: names that don't exist, the same thing claimed twice."""
    _upstream_names(raw, findings)
    _same_paths(raw, findings)
    find_claims(_items(raw, "routes"), findings)
    _same_ids(raw, findings)
    same_names(raw, findings)
    _templates(raw, findings)
    workers, bus = raw.get("workers"), raw.get("bus")
    if isinstance(workers, int) and workers > 1 and not (isinstance(bus, dict) and bus.get("url")):
        findings.error(
            ("workers",), "more than one worker needs a bus, so that a stop reaches the right one; set bus.url"
        )


def find_late_errors(settings: Settings, findings: Findings) -> None:
    """Errors between values that must be valid themselves."""
    seen: dict[str, str] = {}
    for index, key in enumerate(settings.keys):
        for digest in key.hashes:
            if digest in seen:
                message = f"the same key belongs to {seen[digest]} already; one key names one caller"
                findings.error(("keys", index, "hash"), message)
            seen[digest] = key.id
    same_tokens(settings.admin, findings)
    if settings.admin.listen == settings.listen and settings.listen.port:
        findings.error(("admin", "listen"), "the same address as listen; the admin listener needs its own")
    _admin_ports(settings, findings)
    for name, upstream in settings.upstreams.items():
        if _calls_itself(upstream.base_url, settings.listen):
            findings.error(("upstreams", name, "base_url"), f"this is our own listener ({settings.listen}), a loop")
    find_misfits(settings, findings)
    has_prices = settings.prices.file is not None or settings.prices.fallback != "none"
    for index, budget in enumerate(settings.budgets):
        if budget.cost is not None and not has_prices:
            message = "nothing is known to cost anything; set prices.file (or prices.fallback)"
            findings.error(("budgets", index, "cost"), message)


def _admin_ports(settings: Settings, findings: Findings) -> None:
    """Each worker has an admin listener, on a port of its own."""
    ports, listen = admin_ports(settings), settings.listen
    if settings.workers == 1 or not ports:
        return
    takes = f"each worker has an admin listener: they take the ports {ports[0]} to {ports[-1]}"
    if ports[-1] > HIGHEST_PORT:
        findings.error(("admin", "listen"), f"{takes}, and {HIGHEST_PORT} is the highest there is")
    elif listen.port in ports and listen.host == settings.admin.listen.host:
        findings.error(("admin", "listen"), f"{takes}, and {listen} is where callers are served; set another port")


def _unproven_ledger(settings: Settings, findings: Findings) -> None:
    if settings.ledger.is_shared and not parse_ledger_address(settings.ledger.url).is_decided:
        message = (
            "records and texts go to another host, over TLS only if that offers it, and to whoever says to be it; add "
            "?sslmode=verify-full&sslrootcert=FILE, or sslmode=disable where nobody else is on the network"
        )
        findings.warn(("ledger", "url"), message)


def find_warnings(settings: Settings, findings: Findings) -> None:
    """What is valid but probably not meant."""
    if not settings.keys and not settings.listen.is_loopback:
        findings.warn(("listen",), f"{NO_KEYS}; add keys, or listen on 127.0.0.1")
    _unproven_ledger(settings, findings)
    token_warnings(settings.admin, findings)
    used = {route.upstream for route in settings.routes}
    for name, upstream in settings.upstreams.items():
        loc: Loc = ("upstreams", name)
        for key, message in _stop_warnings(upstream):
            findings.warn((*loc, key), message)
        for call in (call for call in _CALLS if upstream.base_url.endswith(call)):
            message = f"request paths are added at its end, {call} too: cut {call} off, so that it ends like …/v1"
            findings.warn((*loc, "base_url"), message)
        if name not in used:
            findings.warn(loc, "no route uses this upstream")
    for index, budget in enumerate(settings.budgets):
        if budget.window is not None and budget.window > settings.ledger.keep:
            message = "longer than ledger.keep: after a restart only what the ledger still has is counted"
            findings.warn(("budgets", index, "window"), message)
    for index, route in enumerate(settings.routes):
        for key, message in _route_warnings(settings, route):
            findings.warn(("routes", index, key), message)


def _stop_warnings(upstream: UpstreamSettings) -> Iterator[tuple[str, str]]:
    if upstream.on_stop == "close" and upstream.bills_after_close == "yes":
        message = "yes, with on_stop: close: a stop saves nothing here; on_stop: drain reads on for the usage"
        yield "bills_after_close", message
    if upstream.on_stop == "drain" and upstream.bills_after_close == "no":
        yield "on_stop", "drain reads on, and pays, for nothing: the bill ends with the connection; on_stop: close"
    if upstream.on_stop == "drain" and upstream.usage == "none":
        yield "usage", "none, with on_stop: drain: what is read on for, the usage, is not asked for; usage: final"


def _settlement_warnings(upstream: UpstreamSettings, route: RouteSettings) -> Iterator[tuple[str, str]]:
    """Routes on which a stop saves less than their upstream allows, or bills what nobody counts."""
    if route.settlement == "drained" and upstream.on_stop != "drain":
        message = f"drained needs an upstream with on_stop: drain; {route.upstream} has {upstream.on_stop}, so that "
        yield "settlement", message + "nobody knows what it made behind a stop, and what was produced is billed"
    if upstream.bills_after_close == "no" and route.on_disconnect is OnDisconnect.FINISH:
        yield "on_disconnect", "finish: a client that leaves saves nothing, although the bill would end with it"
    if upstream.bills_after_close == "no" and route.blocking == "pass" and not _PASSED_ON.isdisjoint(route.dialects):
        message = (
            "pass: many servers finish a non-streaming call that was closed, and bill it; blocking: stream stops it"
        )
        yield "blocking", message


def _route_warnings(settings: Settings, route: RouteSettings) -> Iterator[tuple[str, str]]:
    yield from _settlement_warnings(settings.upstreams[route.upstream], route)
    has_key = settings.upstreams[route.upstream].api_key is not None
    if has_key and settings.keys and not route.only and not _PASSED_ON.isdisjoint(route.dialects):
        message = (
            "every upstream path can be called with the upstream's api_key (files, fine-tuning, …); "
            "list the paths that are meant in only, such as only: [/chat/completions, /models]"
        )
        yield "path", message
    if has_key and not settings.keys and "*" in route.cors.origins:
        yield "cors", "any web page may spend the upstream's api_key; name the origins, or add keys"
    if "dify" in route.dialects and route.model is None:
        yield "dialect", "dify requests name no model, and the route has none: all of them are refused; set model"
    if "dify" not in route.dialects:
        for key in ("system", "prompt", "inputs"):
            if getattr(route, key) is not None:
                yield key, "has no effect: only the dialect dify uses it"


def _items(raw: dict[str, Any], section: str) -> Iterator[tuple[int, dict[str, Any]]]:
    listed = raw.get(section)
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(item, dict):
            yield index, item


def _upstream_names(raw: dict[str, Any], findings: Findings) -> None:
    upstreams = raw.get("upstreams")
    if not isinstance(upstreams, dict) or not upstreams:
        return
    for index, route in _items(raw, "routes"):
        name = route.get("upstream")
        if isinstance(name, str) and name not in upstreams:
            message = f"no upstream is named '{name}'{did_you_mean(name, list(upstreams))}"
            findings.error(("routes", index, "upstream"), message)


def _same_paths(raw: dict[str, Any], findings: Findings) -> None:
    seen: dict[str, int] = {}
    for index, route in _items(raw, "routes"):
        try:
            path = check_route_path(str(route.get("path")))
        except ValueError:
            continue
        if path in seen:
            line = findings.at(("routes", seen[path], "path")).line
            message = (
                f"{path} is the path of routes[{seen[path]}] already (line {line}); "
                "to serve several dialects there, give one route a list: dialect: [a, b]"
            )
            findings.error(("routes", index, "path"), message)
        seen.setdefault(path, index)


def _same_ids(raw: dict[str, Any], findings: Findings) -> None:
    seen: dict[str, int] = {}
    for index, key in _items(raw, "keys"):
        name = key.get("id")
        if isinstance(name, str) and name in seen:
            line = findings.at(("keys", seen[name])).line
            findings.error(("keys", index, "id"), f"'{name}' is the id of another key already (line {line})")
        elif isinstance(name, str):
            seen[name] = index


def _templates(raw: dict[str, Any], findings: Findings) -> None:
    """Every variable of a template is declared, when any are, and nothing else is in double braces."""
    for index, route in _items(raw, "routes"):
        declared = route.get("inputs")
        for key in ("system", "prompt"):
            text = route.get(key)
            if not isinstance(text, str):
                continue
            if "{{" in VARIABLE.sub("", text):
                findings.error(("routes", index, key), "expected variables as {{name}}, each closed by }}")
            if not isinstance(declared, dict):
                continue
            for name in variables(text):
                if name not in declared:
                    message = f"{{{{{name}}}}} is not declared in inputs{did_you_mean(name, list(declared))}"
                    findings.error(("routes", index, key), message)


def _calls_itself(base_url: str, listen: Address) -> bool:
    url = urlsplit(base_url)
    if (url.port or _PORTS[url.scheme]) != listen.port:
        return False
    host = url.hostname or ""
    here = Address(host, listen.port).is_loopback
    return host == listen.host or (here and (listen.is_loopback or listen.host in _EVERY_INTERFACE))

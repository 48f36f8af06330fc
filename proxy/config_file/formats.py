"""Dialects and settings of a route that its upstream's wire format cannot serve."""

from collections.abc import Iterator

from proxy.config_file.values import Findings
from proxy.core.settings.settings import RouteSettings, Settings

_PASSED: frozenset[str] = frozenset({"openai", "anthropic"})
"""The dialects that pass a provider's own API through."""


def find_misfits(settings: Settings, findings: Findings) -> None:
    """An error for each route that asks its upstream for what its format has not."""
    for index, route in enumerate(settings.routes):
        wire_format = settings.upstreams[route.upstream].format
        for key, message in (*_dialects(route, wire_format), *_settings(route, wire_format)):
            findings.error(("routes", index, key), message)


def _dialects(route: RouteSettings, wire_format: str) -> Iterator[tuple[str, str]]:
    whose = f"upstreams.{route.upstream} has format: {wire_format}"
    for dialect in route.dialects:
        if dialect not in _PASSED and wire_format != "openai":
            yield "dialect", f"{dialect} is made from OpenAI's chat completions, and {whose}; give it another upstream"
        elif dialect == "anthropic" and wire_format == "gemini":
            message = (
                f"anthropic passes Anthropic's API through, and {whose}; use dialect: openai to pass Gemini's through"
            )
            yield "dialect", message
    if "anthropic" in route.dialects and "openai" in route.dialects[: route.dialects.index("anthropic")]:
        message = "openai passes /messages on without reading it, and goes first here; write [anthropic, openai]"
        yield "dialect", message


def _settings(route: RouteSettings, wire_format: str) -> Iterator[tuple[str, str]]:
    whose = f"upstreams.{route.upstream} has format: {wire_format}"
    if route.responses == "emulate" and wire_format != "openai":
        yield (
            "responses",
            f"emulate needs OpenAI's chat completions, and {whose}; pass it on, or give it another upstream",
        )
    if wire_format != "gemini":
        return
    if route.blocking == "stream":
        yield "blocking", f"{whose}, whose non-streaming calls have a path of their own; they can only be passed"
    if route.keepalive is not None:
        yield "keepalive", f"{whose}, whose clients break at the comments that this would send; remove it"

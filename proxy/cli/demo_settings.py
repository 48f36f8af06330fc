"""The settings of `quell demo`: a route for OpenAI's APIs, one for Gemini's, one for each page about another API."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.config_file import load_env
from proxy.core.settings.origin import Origin, Place
from proxy.core.settings.settings import Address, RouteSettings, Settings

DEMO: Final = Address("127.0.0.1", 8486)
"""Where the demo upstream listens, if nothing else does."""

OPENAI_APIS: Final[Mapping[str, Any]] = {"path": "/v1", "dialect": ["assistants", "openai"], "responses": "emulate"}

MODEL: Final = "demo@tokens=2000"
"""Fifty seconds of text: time enough to type a stop."""

OTHER_APIS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "path": "/dify/v1",
        "dialect": "dify",
        "system": "You translate to {{language}}.",
        "prompt": "{{query}}",
        "inputs": {"language": {"required": True}, "query": {}},
    },
    {"path": "/async/v1", "dialect": "async_messages"},
    {"path": "/aitronos/v1", "dialect": "aitronos"},
)

GEMINI: Final[Mapping[str, Any]] = {"path": "/v1beta", "dialect": "openai", "upstream": "gemini"}


def demo_settings(environ: Mapping[str, str]) -> Settings:
    """The settings; where the demo upstream really listens is put in when it does."""
    settings = load_env({**environ, "OPENAI_BASE_URL": f"http://{DEMO}/v1", "OPENAI_API_KEY": "demo"})
    openai = settings.upstreams["openai"].model_copy(update={"usage": "final"})
    gemini = openai.model_copy(update={"base_url": f"http://{DEMO}{GEMINI['path']}", "format": "gemini"})
    upstreams = {"openai": openai, "gemini": gemini}
    given = [{"upstream": "openai", **route, "model": MODEL} for route in (OPENAI_APIS, *OTHER_APIS, GEMINI)]
    routes = tuple(RouteSettings.model_validate(route) for route in given)
    places: list[Place] = [("upstreams", name, key) for name in upstreams for key in ("base_url", "api_key", "usage")]
    places += [("upstreams", "gemini", "format")]
    places += [("routes", at, key) for at, route in enumerate(given) for key in route]
    origin = Origin().with_others("demo", *places)
    return settings.model_copy(update={"upstreams": upstreams, "routes": routes}).coming_from(origin)


def demo_place(settings: Settings) -> Address:
    """Where the demo upstream listens beside this proxy: it makes way for it."""
    wanted = {settings.listen.port, settings.admin.listen.port}
    return Address(DEMO.host, 0) if DEMO.port in wanted else DEMO

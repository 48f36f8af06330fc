"""One loaded config at work: which route takes a path, what goes up as credential, and who calls."""

from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from proxy.core.errors import Refusal
from proxy.dialects import DIALECTS
from proxy.dialects.openai import OpenAI
from proxy.edge.runtime import Runtime
from proxy.engine.dialect import ModelCall, PassThrough, StopCall
from proxy.engine.settling.pricing import Pricing
from proxy.engine.upstreams.upstream import Upstream
from support.program import config_text
from support.proxy import settings_of

KEY = sha256(b"foo").hexdigest()

Make = Callable[..., Runtime]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a runtime from a config like the tests'; `overrides` are those of `config_text`."""
    opened: list[Upstream] = []

    def runtime(base_url: str = "http://127.0.0.1:1/v1", **overrides: Any) -> Runtime:
        settings = settings_of(config_text(base_url, **overrides), tmp_path)
        upstreams = {name: Upstream(name, upstream) for name, upstream in settings.upstreams.items()}
        opened.extend(upstreams.values())
        return Runtime(settings, upstreams, DIALECTS, Pricing("USD"))

    yield runtime
    for upstream in opened:
        await upstream.close()


async def test_the_longest_route_wins(make: Make) -> None:
    """A path goes to the longest route that begins it, with what is behind that; an unknown one is 404."""
    routes = [{"path": path, "dialect": "openai", "upstream": "up"} for path in ("/v1", "/v1/team", "/other")]
    runtime = make(routes=routes)
    for path, route, rest in (
        ("/v1", "/v1", ""),
        ("/v1/models", "/v1", "/models"),
        ("/v1/team/models", "/v1/team", "/models"),
        ("/v1/teams", "/v1", "/teams"),
    ):
        served, behind = runtime.match(path)
        assert (served.route.path, behind) == (route, rest)
    with pytest.raises(Refusal) as refused:
        runtime.match("/v2")
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("http://127.0.0.1:1/v1", "127.0.0.1:1"),
        ("https://api.example.com", "api.example.com"),
        ("http://[::1]:8000/a/b", "[::1]:8000"),
    ],
)
async def test_the_host_is_the_upstreams(make: Make, base_url: str, host: str) -> None:
    """The upstream is called by the host and port of its base_url, as it stands there."""
    assert make(base_url).match("/v1")[0].host == host


@pytest.mark.parametrize(
    ("api_key", "keys", "credentials"),
    [
        (None, [], None),
        (None, [{"id": "a", "hash": KEY}], ()),
        ("sk-up", [], (("Authorization", "Bearer sk-up"),)),
        ("sk-up", [{"id": "a", "hash": KEY}], (("Authorization", "Bearer sk-up"),)),
    ],
)
async def test_which_credential_goes_up(make: Make, api_key: str | None, keys: list[Any], credentials: Any) -> None:
    """The configured key goes up; else the caller's own, but never one of our keys."""
    upstream = {"api_key": api_key} if api_key else {}
    assert make(upstream=upstream, keys=keys).match("/v1")[0].credentials == credentials


async def test_who_calls(make: Make) -> None:
    """With keys a caller is its key's id and has its bound, without keys it is its credential's hash, or anonymous."""
    keyed = make(keys=[{"id": "acme", "hash": KEY.upper(), "limits": {"streams": 3}}])
    caller = keyed.caller([("authorization", "Bearer foo")])
    assert (caller.identity.name, caller.identity.shown, caller.most) == ("key:acme", "acme", 3)
    for headers in ([], [("Authorization", "Bearer bar")], [("Authorization", "Bearer ")]):
        with pytest.raises(Refusal) as refused:
            keyed.caller(headers)
        assert refused.value.status == 401
    open_to_all = make()
    caller = open_to_all.caller([("X-API-Key", "foo")])
    assert (caller.identity.name, caller.identity.shown, caller.most) == (KEY, KEY[:12], None)
    assert open_to_all.caller([]).identity.name == "anonymous"


async def test_a_named_key_is_no_hash(make: Make) -> None:
    """The identity of a key can't be mistaken for that of a caller who sends its name as a credential."""
    keyed, open_to_all = make(keys=[{"id": "acme", "hash": KEY}]), make()
    named = keyed.caller([("Authorization", "Bearer foo")]).identity.name
    assert open_to_all.caller([("Authorization", f"Bearer {named}")]).identity.name != named


async def test_what_serves_a_request(make: Make) -> None:
    """A request is served by the first of the route's dialects that knows it."""
    served, rest = make().match("/v1/chat/completions")
    dialect, endpoint = served.endpoint("POST", rest)
    assert (dialect.name, endpoint) == ("openai", ModelCall(OpenAI().plan))
    assert served.endpoint("POST", "/completions/x/cancel")[1] == StopCall("x", OpenAI().stopped)


async def test_passing_on_comes_last(make: Make) -> None:
    """What one dialect would only pass on is served by a later one that knows it; what none knows is passed on."""
    routes = [
        {"path": "/both", "dialect": ["anthropic", "openai"], "upstream": "up"},
        {"path": "/three", "dialect": ["openai", "dify", "async_messages"], "upstream": "up"},
    ]
    runtime = make(routes=routes)

    def names(path: str, *calls: tuple[str, str]) -> list[str]:
        served, _ = runtime.match(path)
        return [served.endpoint(method, rest)[0].name for method, rest in calls]

    assert names(
        "/both",
        ("POST", "/messages"),
        ("POST", "/chat/completions"),
        ("POST", "/messages/x/cancel"),
        ("GET", "/chat/completions/x/cancel"),
        ("GET", "/models"),
    ) == ["anthropic", "openai", "anthropic", "openai", "anthropic"]
    assert names("/three", ("POST", "/chat-messages"), ("POST", "/messages/async"), ("GET", "/files")) == [
        "dify",
        "async_messages",
        "openai",
    ]
    served, _ = runtime.match("/both")
    assert served.endpoint("GET", "/models")[1] == PassThrough()


async def test_an_upstreams_format_says_what_openai_stands_for(make: Make) -> None:
    """In front of an upstream of Gemini's format an `openai` route passes that API through, and keeps its own calls."""
    for wire_format, names in (("openai", ["openai"]), ("anthropic", ["openai"]), ("gemini", ["gemini", "openai"])):
        served, _ = make(upstream={"format": wire_format}).match("/v1")
        assert [each.name for each in served.dialects] == names
    calls = ("/models/m:generateContent", "/chat/completions", "/completions/x/cancel", "/models/m:countTokens")
    served_by = [served.endpoint("POST", each)[0].name for each in calls]
    assert served_by == ["gemini", "openai", "openai", "gemini"]


async def test_an_emulated_api_goes_before_the_one_that_passes_on(make: Make) -> None:
    """With `responses: emulate` the Responses API is served from chat completions, all else by the route's dialects."""
    dialects = ["aitronos", "openai"]
    routes = [
        {"path": "/passed", "dialect": dialects, "upstream": "up"},
        {"path": "/emulated", "dialect": dialects, "upstream": "up", "responses": "emulate"},
        {"path": "/other", "dialect": "aitronos", "upstream": "up", "responses": "emulate"},
    ]
    runtime = make(routes=routes)
    names = {
        path: [each.name for each in runtime.match(path)[0].dialects] for path in ("/passed", "/emulated", "/other")
    }
    assert names == {
        "/passed": dialects,
        "/emulated": ["aitronos", "responses", "openai"],
        "/other": ["aitronos"],
    }
    served, _ = runtime.match("/emulated")
    assert [
        served.endpoint("POST", path)[0].name for path in ("/responses", "/chat/completions", "/model/response")
    ] == [
        "responses",
        "openai",
        "aitronos",
    ]

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.core.lifecycle import OnDisconnect
from proxy.core.settings.scalar_types import duration_text, parse_duration, parse_size, size_text
from proxy.core.settings.settings import Address, Settings, masked

SECRET = "sk-canary-4711-0815"
DIGEST = "ab" * 32


def made(**changes: Any) -> Settings:
    """The smallest settings, changed."""
    return Settings.model_validate(
        {
            "version": 1,
            "upstreams": {"openai": {"base_url": "https://api.openai.com/v1/", "api_key": SECRET}},
            "routes": [{"path": "/v1", "dialect": "openai", "upstream": "openai"}],
            **changes,
        }
    )


def test_the_smallest_file_has_the_documented_defaults() -> None:
    """Every key that is left out has the default that the contract names."""
    settings = made()
    upstream, route = settings.upstreams["openai"], settings.routes[0]
    assert settings.listen == Address("127.0.0.1", 8484)
    assert settings.admin.listen == Address("127.0.0.1", 8485)
    assert (upstream.timeouts.connect, upstream.timeouts.first_byte) == (5.0, 120.0)
    assert (upstream.timeouts.idle, upstream.timeouts.total) == (120.0, 1800.0)
    assert (upstream.slots, upstream.queue.size, upstream.queue.timeout) == (None, 1000, 30.0)
    assert (upstream.format, upstream.on_stop, upstream.usage) == ("openai", "close", "auto")
    assert (route.on_disconnect, route.linger, route.blocking) == (OnDisconnect.CANCEL, 20.0, "pass")
    assert (route.keepalive, route.only, route.cors.origins) == (None, (), ())
    assert (settings.cancellation.finish_reason, settings.cancellation.confirm_timeout) == ("stop", 2.0)
    limits = settings.limits
    assert (limits.streams, limits.body, limits.header) == (5000, 20 * 2**20, 32 * 2**10)
    assert (limits.partial_text, limits.tape) == (2**20, 8 * 2**20)
    assert (limits.write_deadline, limits.body_deadline) == (60.0, 30.0)
    assert (settings.ledger.url, settings.ledger.keep, settings.ledger.flush) == ("sqlite:///quell.db", 7_776_000, 0.25)
    assert (settings.drain.ready_delay, settings.drain.timeout) == (5.0, 60.0)
    assert (settings.replica, settings.workers) == ("auto", 1)


def test_an_upstream_knows_its_name_and_loses_the_slash_at_its_end() -> None:
    """The key under upstreams is the upstream's name, and base_url can be joined with a path."""
    upstream = made().upstreams["openai"]
    assert (upstream.name, upstream.base_url) == ("openai", "https://api.openai.com/v1")


@pytest.mark.parametrize(("given", "kept"), [("dify", ("dify",)), (["openai", "dify"], ("openai", "dify"))])
def test_one_dialect_or_a_list_is_always_a_tuple(given: Any, kept: tuple[str, ...]) -> None:
    """The file's `dialect` is read as `dialects`."""
    settings = made(routes=[{"path": "/v1", "dialect": given, "upstream": "openai"}])
    assert settings.routes[0].dialects == kept


def test_no_secret_is_in_a_repr_a_dump_or_an_error() -> None:
    """Whatever prints the settings, or refuses them, keeps the secrets to itself."""
    settings = made(
        bus={"url": "redis://user:hidden-pw@bus/0", "secret": SECRET},
        admin={"token": SECRET},
        keys=[{"id": "acme", "hash": DIGEST}],
        ledger={"url": "postgresql://user:hidden-pw@db/quell"},
        sink={"url": "https://meter.example.com/events?key=hidden-pw"},
    )
    shown = f"{settings!r} {settings} {masked(settings)}"
    assert SECRET not in shown
    assert "hidden-pw" not in shown
    assert DIGEST not in shown
    with pytest.raises(ValidationError) as caught:
        made(admin={"token": f"{SECRET} with blanks"})
    assert SECRET not in str(caught.value)


def test_the_masked_dump_is_json_under_the_keys_of_the_file() -> None:
    """The admin API shows the config as it is written, secrets replaced."""
    shown = masked(made())
    assert shown["listen"] == "127.0.0.1:8484"
    assert shown["routes"][0]["dialect"] == ["openai"]
    assert shown["upstreams"]["openai"]["api_key"] == "**********"
    assert shown["admin"]["token"] is None
    assert shown["upstreams"]["openai"]["timeouts"] == {
        "connect": "5s",
        "first_byte": "2m",
        "idle": "2m",
        "total": "30m",
    }
    assert (shown["limits"]["body"], shown["limits"]["header"], shown["limits"]["streams"]) == ("20MiB", "32KiB", 5000)
    assert (shown["ledger"]["keep"], shown["ledger"]["flush"], shown["routes"][0]["keepalive"]) == (
        "90d",
        "250ms",
        None,
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.0, "0s"), (0.0005, "0.5ms"), (0.25, "250ms"), (0.3, "300ms"), (1.5, "1500ms"), (1 / 3, "333.333333ms")),
        *((90.0, "90s"), (5400.0, "90m"), (86_400.0, "1d"), (604_800.0, "1w")),
    ],
)
def test_a_duration_is_told_as_it_is_written(seconds: float, text: str) -> None:
    """Seconds become a text with a unit that means the same again."""
    assert duration_text(seconds) == text
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("size", "text"), [(1, "1B"), (1000, "1kB"), (1023, "1023B"), (2**20, "1MiB"), (10**9, "1GB")])
def test_a_size_is_told_as_it_is_written(size: int, text: str) -> None:
    """Bytes become a text with a unit that means the same again."""
    assert size_text(size) == text
    assert parse_size(text) == size


@pytest.mark.parametrize("text", [DIGEST, DIGEST.upper(), f"{DIGEST}  -\n", f"{DIGEST}\n\n"])
def test_a_hash_is_read_in_every_form_that_tools_write(text: str) -> None:
    """Upper case, the end of line of sha256sum and blank lines mean the same hash."""
    assert made(keys=[{"id": "a", "hash": text}]).keys[0].hashes == {DIGEST}


def test_a_key_may_have_several_hashes_while_it_is_exchanged() -> None:
    """One hash a line: old and new key both get in."""
    assert made(keys=[{"id": "a", "hash": f"{DIGEST}\n{'cd' * 32}"}]).keys[0].hashes == {DIGEST, "cd" * 32}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"keys": [{"id": "a", "hash": "the key itself"}]}, "64 hex digits"),
    ({"keys": [{"id": "a", "hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}, "nothing"),
    ({"keys": [{"id": "a"}]}, "no hash_file"),
    ({"keys": [{"id": "anonymous", "hash": DIGEST}]}, "anonymous"),
    ({"keys": [{"id": "a b", "hash": DIGEST}]}, "pattern"),
    ({"admin": {"listen": "0.0.0.0:1"}}, "token_file"),
    ({"listen": "8484"}, "HOST:PORT"),
    ({"listen": ":8484"}, "host is missing"),
    ({"listen": "127.0.0.1:70000"}, "65535"),
    ({"listen": "::1:80"}, "brackets"),
    ({"listen": "[127.0.0.1]:80"}, "not an IPv6 address"),
    ({"listen": "300.0.0.1:80"}, "not an IPv4 address"),
    ({"listen": "all interfaces:80"}, "not a host name"),
    ({"drain": {"timeout": "5"}}, "needs a unit"),
    ({"drain": {"timeout": "5 s"}}, "expected a duration"),
    ({"drain": {"timeout": "999999w"}}, "hundred years"),
    ({"limits": {"body": "20Mb"}}, "expected a size"),
    ({"limits": {"body": "0B"}}, "greater than 0"),
    ({"limits": {"streams": True}}, "whole number"),
    ({"workers": 0}, "greater than or equal to 1"),
    ({"ledger": {"url": "quell.db"}}, "sqlite:///FILE"),
    ({"ledger": {"url": "sqlite:///"}}, "file's name is missing"),
    ({"trusted_proxies": ["10.0.0.1/8"]}, "10.0.0.0/8"),
    ({"trusted_proxies": ["all"]}, "10.0.0.0/8"),
    ({"budgets": [{"per": "key", "cost": 1}]}, "per key needs a window"),
    ({"budgets": [{"per": "request", "window": "1d", "cost": 1}]}, "without a window"),
    ({"budgets": [{"per": "request"}]}, "at least one"),
    ({"routes": []}, "at least 1"),
    ({"upstreams": {}}, "at least 1"),
    ({"version": 2}, "1"),
    ({"extra": 1}, "Extra inputs"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_a_wrong_value_is_refused_with_what_was_expected(changes: dict[str, Any], reason: str) -> None:
    """No wrong value is taken for something else."""
    with pytest.raises(ValidationError, match=reason.replace("(", r"\(")):
        made(**changes)


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://host/",
        "https://",
        "https://user:pw@host/v1",
        "https://host/v1?x=1",
        "https://host/v1#x",
        "https://host/v1?",
        "https://host/a/../b",
        "https://host/a/%2E%2e/b",
        "https://host//b",
        "https://host\\@other/",
        "https://host name/",
        "https://host:99999/",
        "https://höst/",
        "http://169.254.169.254/latest",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://169.254.43518/",
        "http://[::1/",
    ],
)
def test_a_base_url_that_could_lead_elsewhere_is_refused(url: str) -> None:
    """Only plain http(s) URLs without credentials, tricks and link-local hosts name an upstream."""
    with pytest.raises(ValidationError):
        made(upstreams={"openai": {"base_url": url}})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://llama_server:8080/v1", "https://[::1]:1/v1", "http://h."]
)
def test_a_plain_base_url_is_taken_as_it_is(url: str) -> None:
    """Loopback, container names and IPv6 are ordinary upstreams."""
    assert made(upstreams={"openai": {"base_url": url}}).upstreams["openai"].base_url == url


@pytest.mark.parametrize("path", ["v1", "", "/a/../b", "/a//b", "/a%2fb", "/a b", "/a?b", "/a\\b", "/."])
def test_a_route_path_that_could_be_read_twice_is_refused(path: str) -> None:
    """A path is made of plain segments."""
    with pytest.raises(ValidationError):
        made(routes=[{"path": path, "dialect": "openai", "upstream": "openai"}])


@pytest.mark.parametrize(("given", "kept"), [("/v1/", "/v1"), ("/", "/"), ("/a/b.c-d_e~f", "/a/b.c-d_e~f")])
def test_a_route_path_has_one_form(given: str, kept: str) -> None:
    """A slash at the end means nothing."""
    assert made(routes=[{"path": given, "dialect": "openai", "upstream": "openai"}]).routes[0].path == kept


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://app.example.com/", "https://a@b", "https://a/b", "https://a:443"]
)
def test_what_no_browser_sends_as_origin_is_refused(origin: str) -> None:
    """An origin that could never match is an error, not a silent no."""
    with pytest.raises(ValidationError):
        made(routes=[{"path": "/", "dialect": "openai", "upstream": "openai", "cors": {"origins": [origin]}}])


def test_durations_and_sizes_are_seconds_and_bytes() -> None:
    """Units add up, and the numbers are in one unit afterwards."""
    settings = made(
        drain={"timeout": "1h30m", "ready_delay": "0s"}, limits={"body": "1.5MiB", "write_deadline": "250ms"}
    )
    assert (settings.drain.timeout, settings.drain.ready_delay) == (5400.0, 0.0)
    assert (settings.limits.body, settings.limits.write_deadline) == (1_572_864, 0.25)


def test_money_is_exact() -> None:
    """A cost is a decimal, never a binary fraction."""
    assert made(budgets=[{"per": "request", "cost": "0.10"}]).budgets[0].cost == Decimal("0.10")


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("0.0.0.0:1", False), ("host:1", False)],
)
def test_an_address_knows_whether_others_can_reach_it(address: str, loopback: bool) -> None:
    """Only loopback is private; a name that is not localhost is not trusted to be."""
    listen = made(listen=address).listen
    assert (listen.is_loopback, str(listen)) == (loopback, address)


def test_settings_never_change() -> None:
    """A reload swaps the whole object; nobody edits one in use."""
    with pytest.raises(ValidationError):
        made().limits.streams = 1  # type: ignore[misc] # the types say so too


@pytest.mark.parametrize(
    ("bus", "where", "message"),
    [
        ({"url": "redis://bus"}, "url", "needs a secret_file"),
        ({"url": "redis://bus", "secret": "short"}, "secret", "at least 16 characters"),
        ({"url": "redis://bus", "secret": SECRET, "lease": 3.0}, "lease", "at least 4s"),
        ({"url": "amqp://bus", "secret": SECRET}, "url", "starting with one of redis://"),
    ],
)
def test_a_bus_that_can_t_be_served_is_refused(bus: dict[str, Any], where: str, message: str) -> None:
    """A bus needs a secret that is worth the name, a lease that can be held, and an address of its kind."""
    with pytest.raises(ValidationError, match=message) as refused:
        made(bus=bus)
    assert SECRET not in str(refused.value)
    assert where in str(refused.value) or where in str(refused.value.errors())

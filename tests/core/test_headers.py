"""Header rules in both directions, the caller's identity, and values that are kept."""

from hashlib import sha256

import pytest
from multidict import CIMultiDict

from proxy.core.errors import Refusal
from proxy.core.headers import (
    ANONYMOUS,
    PROTECTED,
    Credential,
    Forwarded,
    HeaderPair,
    check_value,
    credential_headers,
    downstream_headers,
    identity_of,
    upstream_headers,
    valid_task_id,
)

UP = [("Host", "up"), ("Accept-Encoding", "identity")]
DOWN = [("Server", "quell")]


def up(*pairs: HeaderPair, credentials: tuple[HeaderPair, ...] | None = None) -> list[HeaderPair]:
    """What is left of a request's headers, but for the two that are always set."""
    sent = upstream_headers(pairs, host="up", credentials=credentials)
    assert all(pair in sent for pair in UP)
    return [pair for pair in sent if pair not in UP]


def test_end_to_end_headers_go_up_in_order() -> None:
    """What is between client and model passes with its own case, order and repetitions."""
    pairs = [("content-type", "application/json"), ("X-Stainless-OS", "Linux"), ("X-A", "1"), ("x-a", "2")]
    assert up(*pairs) == pairs


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "Keep-Alive", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"),
        *("Host", "Content-Length", "Accept-Encoding", "Cookie", "X-Conversation-Id", "X-Original-URL"),
        *("X-Task-Id", "X-Message-Id", "X-User-Id", "X-Max-Tokens", "X-Max-Cost", "X-Max-Seconds"),
        *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-IP"),
        *("Content_Length", "X_Task_Id", "Authorization_"),
    ],
)
def test_what_is_not_the_upstreams_business_stays_here(name: str) -> None:
    """Hop-by-hop headers, our own ids, forgeable addresses and underscore names are dropped, in any case (Z5)."""
    assert up((name, "x"), (name.lower(), "x"), (name.upper(), "x"), ("X-Kept", "x")) == [("X-Kept", "x")]


def test_headers_named_by_connection_are_dropped() -> None:
    """What `Connection` declares as its own goes, wherever it stands."""
    assert up(("X-Hop", "1"), ("Connection", "close, X-Hop"), ("X-Kept", "1"), ("x-hop", "2")) == [("X-Kept", "1")]
    assert up(("Connection", "x-a"), ("Connection", "X-B"), ("X-A", "1"), ("X-B", "1")) == []


@pytest.mark.parametrize("name", sorted(PROTECTED))
def test_connection_must_not_strip_controls(name: str) -> None:
    """A `Connection` header that names a credential, an id or a forwarding header is refused with 400 (Z12)."""
    with pytest.raises(Refusal) as refused:
        upstream_headers([("Connection", f"keep-alive ,\t{name.title()}")], host="up")
    assert refused.value.status == 400


def test_the_callers_credential_goes_up_or_is_replaced() -> None:
    """Without a configured key the caller's headers pass; with one, none of the three is left."""
    own = [("Authorization", "Bearer mine"), ("X-API-Key", "mine"), ("api-key", "mine")]
    assert up(*own) == own
    assert up(*own, credentials=credential_headers("key", "openai")) == [("Authorization", "Bearer key")]
    assert up(*own, credentials=credential_headers("key", "anthropic")) == [("X-Api-Key", "key")]
    assert up(*own, credentials=credential_headers("key", "gemini")) == [("X-Goog-Api-Key", "key")]
    assert up(*own, credentials=()) == []


def test_forwarding_headers_are_ours() -> None:
    """What the upstream is told about the client comes from us, not from the client's headers."""
    told = Forwarded("1.2.3.4", "http", "quell.example")
    sent = upstream_headers([("X-Forwarded-For", "6.6.6.6")], host="up", forwarded=told, identity_encoding=False)
    assert sent == [
        ("Host", "up"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "quell.example"),
    ]


def test_useful_answer_headers_pass() -> None:
    """Retry-After, request ids, rate limits and content types reach the client."""
    pairs = [("Content-Type", "application/json"), ("Retry-After", "3"), ("x-request-id", "r"), ("openai-version", "1")]
    assert downstream_headers(pairs, stream=False) == DOWN + pairs


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "Transfer-Encoding", "Content-Length", "Set-Cookie", "Server", "Alt-Svc", "Upgrade"),
        *("Strict-Transport-Security", "Access-Control-Allow-Origin", "X-Accel-Redirect", "X-Task-Id", "X-Message-Id"),
    ],
)
def test_what_is_not_the_clients_business_stays_here(name: str) -> None:
    """Hop-by-hop headers, the upstream's cookies, and what would steer browsers or front proxies are dropped."""
    assert downstream_headers([(name, "x"), ("X-Kept", "x")], stream=False) == [*DOWN, ("X-Kept", "x")]


def test_an_upstreams_connection_drops_only_what_it_may() -> None:
    """An upstream's nominated headers go, but not those that the answer needs."""
    pairs = [("Connection", "X-Hop, Content-Type"), ("x-hop", "1"), ("Content-Type", "a/b")]
    assert downstream_headers(pairs, stream=False) == [*DOWN, ("Content-Type", "a/b")]


def test_streams_are_marked_against_buffering() -> None:
    """A stream tells caches and nginx to keep their hands off, without overruling the upstream's own Cache-Control."""
    buffering = ("X-Accel-Buffering", "no")
    assert downstream_headers([], stream=True) == [*DOWN, buffering, ("Cache-Control", "no-cache, no-transform")]
    own = ("cache-control", "no-store")
    assert downstream_headers([own], stream=True) == [*DOWN, own, buffering]


def test_unwritable_answer_headers_are_left_out() -> None:
    """Values that can't be written again are dropped; tabs become spaces; real text passes."""
    pairs = [("A", "a\tb"), ("B", "\udc80"), ("C", "a\x01"), ("D", "café")]
    assert downstream_headers(pairs, stream=False) == [*DOWN, ("A", "a b"), ("D", "café")]


def named(bare: str) -> Credential:
    """The identity of a bare credential."""
    return Credential(sha256(bare.encode()).hexdigest())


@pytest.mark.parametrize(
    ("pairs", "identity"),
    [
        ([], ANONYMOUS),
        ([("Authorization", "")], ANONYMOUS),
        ([("Authorization", "Bearer")], ANONYMOUS),
        ([("Authorization", "Bearer k")], named("k")),
        ([("authorization", "bearer   k ")], named("k")),
        ([("Authorization", "Basic k")], named("k")),
        ([("Authorization", "k")], named("k")),
        ([("X-API-Key", "k")], named("k")),
        ([("Api-Key", "k")], named("k")),
        ([("api-key", "k"), ("Authorization", "Bearer k"), ("x-api-key", "k")], named("k")),
        ([("X-API-Key", "Bearer k")], named("Bearer k")),
    ],
)
def test_a_caller_is_the_hash_of_its_bare_credential(pairs: list[HeaderPair], identity: Credential) -> None:
    """The same key is the same caller in whichever header and under whichever scheme it comes."""
    assert identity_of(pairs) == identity
    assert identity_of(CIMultiDict(pairs).items()) == identity


@pytest.mark.parametrize(
    "pairs",
    [
        [("Authorization", "Bearer a"), ("X-API-Key", "b")],
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
        [("Authorization", "Bearer a\udc80")],
        [("X-API-Key", "a\tb")],
    ],
)
def test_conflicting_or_odd_credentials_are_refused(pairs: list[HeaderPair]) -> None:
    """Two credentials that differ, or one that is no plain text, are answered with 400, unquoted."""
    with pytest.raises(Refusal) as refused:
        identity_of(pairs)
    assert refused.value.status == 400
    assert "Bearer" not in str(refused.value)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("authorization", "X-Api-Key"), "differ: Authorization and X-API-Key."),
        (("API-KEY", "X-API-Key"), "differ: api-key and X-API-Key."),
        (("Authorization", "Authorization"), "differ: Authorization twice."),
    ],
)
def test_credentials_that_differ_are_named(names: tuple[str, str], said: str) -> None:
    """Of two credentials that differ the refusal names the headers, not the values."""
    with pytest.raises(Refusal, match=said):
        identity_of([(names[0], "a-1"), (names[1], "b-2")])


def test_a_credential_shows_only_its_short_name() -> None:
    """Neither the key nor its whole hash is in the representation."""
    credential = identity_of([("Authorization", "Bearer sk-secret")])
    assert repr(credential) == f"Credential({credential.short})"
    assert (len(credential.short), len(credential.identity)) == (12, 64)
    assert (ANONYMOUS.identity, ANONYMOUS.short) == ("anonymous", "anonymous")


@pytest.mark.parametrize("value", ["a\udc80", "a\r\nb", "a\x00", "é", "\u2028", "a\x7f", "a\x1b[0m", "x" * 513])
def test_values_that_no_store_could_keep_are_refused(value: str) -> None:
    """Anything but visible ASCII and spaces, or too long, is answered with 400 that names the header only (Z6)."""
    with pytest.raises(Refusal) as refused:
        check_value("X-User-Id", value)
    assert (refused.value.status, refused.value.param) == (400, "X-User-Id")
    assert value not in refused.value.message
    assert check_value("X-User-Id", "Jane Doe <7>") == "Jane Doe <7>"


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("a", True),
        ("chat-42_a.b:c", True),
        ("x" * 128, True),
        ("...", True),
        ("", False),
        (".", False),
        ("..", False),
        ("x" * 129, False),
        ("a/b", False),
        ("a b", False),
        ("a\n", False),
        ("é", False),
        ("*", False),
        ("a%00", False),
    ],
)
def test_task_ids_are_plain(value: str, valid: bool) -> None:
    """A chosen id is 1 to 128 of `A-Za-z0-9._:-`, and no dot segment (X16)."""
    assert valid_task_id(value) is valid

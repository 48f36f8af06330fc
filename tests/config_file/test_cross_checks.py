from pathlib import Path

import pytest

from proxy.config_file.claims import ENDPOINTS
from proxy.core.errors import Refusal
from proxy.dialects import DIALECTS
from support.config_files import SMALLEST, load_text, problems, warnings

DIGEST = "ab" * 32
BUS = "bus: {url: redis://127.0.0.1, secret: 0123456789abcdef}\n"
KEY = "    api_key: ${KEY}\n"
WITH_KEY = SMALLEST.replace("routes:", f"{KEY}routes:")
STREAMING = f"{SMALLEST}    blocking: stream\n"
ENVIRON = {"KEY": "canary-key"}


@pytest.mark.parametrize(
    ("outer", "dialect", "inner", "taken"),
    [
        ("/v1", "async_messages", "/v1/messages", "/v1/messages/async"),
        ("/v1", "[async_messages, openai]", "/v1/messages/async/x", "/v1/messages/async"),
        ("/", "aitronos", "/threads", "/threads"),
        ("/v1", "dify", "/v1/workflows", "/v1/workflows/run"),
        ("/v1", "async_messages", "/v1/message", None),
        ("/v1", "async_messages", "/v1x/messages", None),
        ("/v1", "openai", "/v1/embeddings", None),
    ],
)
def test_a_route_takes_no_endpoint_of_another(
    tmp_path: Path, outer: str, dialect: str, inner: str, taken: str | None
) -> None:
    """A route that takes an endpoint of another one's dialect is an error; one that takes a path passed on is none."""
    config = SMALLEST.replace("path: /v1", f"path: {outer}").replace("dialect: openai", f"dialect: {dialect}")
    found = problems(load_text(tmp_path, f"{config}  - {{path: {inner}, dialect: openai, upstream: openai}}\n"))
    assert [message.partition(" from ")[0] for message in found] == (
        [f"9:12: routes[1].path: takes {taken}"] if taken else []
    )


@pytest.mark.parametrize(("dialect", "endpoint"), [(name, each) for name in ENDPOINTS for each in ENDPOINTS[name]])
def test_endpoints_that_are_claimed_are_served(dialect: str, endpoint: str) -> None:
    """Each path that is claimed for a dialect is one below which the dialect serves something."""
    tries = [endpoint + behind for behind in ("", "/x", "/x/stop", "/x/status")]
    assert any(served(dialect, method, path) for path in tries for method in ("GET", "POST"))


def served(dialect: str, method: str, path: str) -> bool:
    """Whether a dialect knows this request, and does not refuse it."""
    try:
        return DIALECTS[dialect].endpoint(method, path) is not None
    except Refusal:
        return False


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "  - {path: /v1/, dialect: dify, upstream: openai}\n",
            "9:12: routes[1].path: /v1 is the path of routes[0] already (line 6); to serve several dialects there",
        ),
        (
            "  - {path: /v2, dialect: openai, upstream: openia}\n",
            "9:44: routes[1].upstream: no upstream is named 'openia' (did you mean 'openai'?)",
        ),
        (
            "  - {path: /v2, dialect: openai, upstream: zzz}\n",
            "9:44: routes[1].upstream: no upstream is named 'zzz' (known: openai)",
        ),
        (
            f"keys:\n  - {{id: a, hash: {DIGEST}}}\n  - {{id: a, hash: {'cd' * 32}}}\n",
            "11:10: keys[1].id: 'a' is the id of another key already (line 10)",
        ),
        (
            f"keys:\n  - {{id: a, hash: {DIGEST}}}\n  - {{id: b, hash: {DIGEST.upper()}}}\n",
            "11:19: keys[1].hash: the same key belongs to a already; one key names one caller",
        ),
        (
            "workers: 2\n",
            "9:10: workers: more than one worker needs a bus, so that a stop reaches the right one; set bus.url",
        ),
        (
            f"workers: 3\n{BUS}admin: {{listen: 127.0.0.1:8482}}\n",
            "11:17: admin.listen: each worker has an admin listener: they take the ports 8482 to 8484, and 127.0.",
        ),
        (
            f"workers: 3\n{BUS}admin: {{listen: 127.0.0.1:65534}}\n",
            "11:17: admin.listen: each worker has an admin listener: they take the ports 65534 to 65536, and 65535 is",
        ),
        (
            "budgets:\n  - {per: key, window: 1d, cost: 2.50}\n",
            "10:34: budgets[0].cost: nothing is known to cost anything; set prices.file (or prices.fallback)",
        ),
        (
            "budgets:\n  - {per: key, cost: 2.50}\n",
            "10:11: budgets[0].per: a budget per key needs a window, such as window: 1d; per: request limits each",
        ),
        (
            "budgets:\n  - {per: request, window: 1d, seconds: 5}\n",
            "10:28: budgets[0].window: a request is counted by itself, without a window; did you mean per: key?",
        ),
        (
            "admin: {listen: 127.0.0.1:8484}\n",
            "9:17: admin.listen: the same address as listen; the admin listener needs its own",
        ),
        (
            '  - {path: /d, dialect: dify, upstream: openai, prompt: "{{qury}}", inputs: {query: {}}}\n',
            "9:57: routes[1].prompt: {{qury}} is not declared in inputs (did you mean 'query'?)",
        ),
        (
            '  - {path: /d, dialect: dify, upstream: openai, system: "to {{lang"}\n',
            "9:57: routes[1].system: expected variables as {{name}}, each closed by }}",
        ),
    ],
)
def test_sections_that_contradict_each_other_are_an_error(tmp_path: Path, more: str, message: str) -> None:
    """What two places say together is checked like what each says alone."""
    found = problems(load_text(tmp_path, SMALLEST + more))
    assert len(found) == 1
    assert found[0].startswith(message)


def test_a_contradiction_is_told_together_with_other_errors(tmp_path: Path) -> None:
    """An error elsewhere hides no contradiction."""
    found = problems(load_text(tmp_path, SMALLEST.replace("upstream: openai", "upstream: nobody") + "workers: x\n"))
    assert [line.partition(":")[0] for line in found] == ["8", "9"]


@pytest.mark.parametrize(
    ("listen", "base_url", "loops"),
    [
        ("127.0.0.1:8484", "http://localhost:8484/v1", True),
        ("0.0.0.0:8484", "http://127.0.0.1:8484/v1", True),
        ("quell.internal:80", "http://quell.internal/v1", True),
        ("127.0.0.1:8484", "http://127.0.0.1:8000/v1", False),
        ("0.0.0.0:8484", "http://other:8484/v1", False),
    ],
)
def test_an_upstream_that_is_ourselves_is_an_error(tmp_path: Path, listen: str, base_url: str, loops: bool) -> None:
    """A proxy that calls itself would fill up with its own calls."""
    text = SMALLEST.replace("https://api.openai.com/v1", base_url) + f"listen: {listen}\n"
    assert ["a loop" in line for line in problems(load_text(tmp_path, text))] == [True] * loops


def test_a_closed_call_needs_its_abort_route(tmp_path: Path) -> None:
    """on_stop: call and abort only make sense together."""
    text = SMALLEST.replace("routes:", "    on_stop: call\nroutes:")
    assert problems(load_text(tmp_path, text)) == [
        "5:14: upstreams.openai.on_stop: call needs abort: {method, path}, the route that stops a call"
    ]
    text = SMALLEST.replace("routes:", "    abort: {path: /abort}\nroutes:")
    assert problems(load_text(tmp_path, text)) == [
        "5:12: upstreams.openai.abort: is used by on_stop: call only, and on_stop is close"
    ]
    text = SMALLEST.replace("routes:", "    on_stop: call\n    abort: {path: 'http://127.0.0.1:1/abort'}\nroutes:")
    assert problems(load_text(tmp_path, text)) == [
        "6:12: upstreams.openai.abort: its address is at another host than base_url, which is to get no credential"
    ]
    text = SMALLEST.replace("routes:", "    on_stop: call\n    abort: {path: /x, body: '{'}\nroutes:")
    assert problems(load_text(tmp_path, text)) == [
        (
            "6:29: upstreams.openai.abort.body: expected JSON with its variables inside of strings, such as "
            """'{"rid": "{{upstream_id}}"}'"""
        )
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{SMALLEST}listen: 0.0.0.0:8484\n", "9:9: listen: others can reach this listener, and there are no keys"),
        (
            SMALLEST.replace("routes:", "    bills_after_close: yes\nroutes:"),
            "5:24: upstreams.openai.bills_after_close: yes, with on_stop: close: a stop saves nothing here",
        ),
        (
            STREAMING.replace("routes:", "    bills_after_close: no\n    on_stop: drain\nroutes:"),
            "6:14: upstreams.openai.on_stop: drain reads on, and pays, for nothing: the bill ends with the connection",
        ),
        (
            SMALLEST.replace("routes:", "    on_stop: drain\n    usage: none\nroutes:"),
            "6:12: upstreams.openai.usage: none, with on_stop: drain: what is read on for, the usage, is not asked for",
        ),
        (
            f"{SMALLEST}    settlement: drained\n",
            "9:17: routes[0].settlement: drained needs an upstream with on_stop: drain; openai has close, so that",
        ),
        (
            STREAMING.replace("routes:", "    bills_after_close: no\nroutes:") + "    on_disconnect: finish\n",
            "11:20: routes[0].on_disconnect: finish: a client that leaves saves nothing, although the bill would end",
        ),
        (
            SMALLEST.replace("routes:", "    bills_after_close: no\nroutes:"),
            "7:5: routes[0].blocking: pass: many servers finish a non-streaming call that was closed, and bill it",
        ),
        (
            SMALLEST.replace("routes:", "  spare: {base_url: https://h/v1}\nroutes:"),
            "5:10: upstreams.spare: no route uses this upstream",
        ),
        (
            SMALLEST.replace("openai.com/v1", "openai.com/v1/chat/completions/"),
            "4:15: upstreams.openai.base_url: request paths are added at its end, /chat/completions too: cut",
        ),
        (
            SMALLEST.replace("openai.com/v1", "anthropic.com/v1/messages"),
            "4:15: upstreams.openai.base_url: request paths are added at its end, /messages too: cut",
        ),
        (
            f"{WITH_KEY}keys: [{{id: a, hash: {DIGEST}}}]\n",
            "7:11: routes[0].path: every upstream path can be called with the upstream's api_key",
        ),
        (
            f'{WITH_KEY}    cors: {{origins: ["*"]}}\n',
            "10:11: routes[0].cors: any web page may spend the upstream's api_key",
        ),
        (
            f"{SMALLEST}  - {{path: /d, dialect: dify, upstream: openai}}\n",
            "9:25: routes[1].dialect: dify requests name no model, and the route has none: all of them are refused",
        ),
        (f"{SMALLEST}    prompt: x\n", "9:13: routes[0].prompt: has no effect: only the dialect dify uses it"),
        (
            SMALLEST.replace("routes:", "    api_key: sk-proj-12345678\nroutes:"),
            "5:14: upstreams.openai.api_key: looks like a key itself; keep it out of the file",
        ),
        (
            f"{SMALLEST}budgets: [{{per: key, window: 365d, seconds: 5}}]\n",
            "9:30: budgets[0].window: longer than ledger.keep: after a restart only what the ledger still has is",
        ),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(tmp_path: Path, text: str, message: str) -> None:
    """A warning has its place and says what to do; the file stays valid."""
    loaded = load_text(tmp_path, text, ENVIRON)
    assert loaded.settings is not None
    found = warnings(loaded)
    assert len(found) == 1
    assert found[0].startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        SMALLEST,
        WITH_KEY,
        f"{SMALLEST}listen: 0.0.0.0:8484\nkeys: [{{id: a, hash: {DIGEST}}}]\n",
        f"{SMALLEST}budgets: [{{per: key, window: 30d, cost: 2.50}}]\nprices: {{fallback: genai-prices}}\n",
        WITH_KEY + f"    only: [/chat/completions]\nkeys: [{{id: a, hash: {DIGEST}}}]\n",
        SMALLEST.replace("routes:", "    bills_after_close: yes\n    on_stop: drain\nroutes:"),
        SMALLEST.replace("routes:", "    on_stop: drain\nroutes:") + "    settlement: drained\n",
        STREAMING.replace("routes:", "    bills_after_close: no\nroutes:"),
        SMALLEST + "  - {path: /d, dialect: dify, upstream: openai, model: m, prompt: '{{any}}'}\n",
        WITH_KEY.replace("dialect: openai", "dialect: aitronos") + f"keys: [{{id: a, hash: {DIGEST}}}]\n",
    ],
)
def test_what_is_meant_earns_no_warning(tmp_path: Path, text: str) -> None:
    """Warnings stay worth reading."""
    loaded = load_text(tmp_path, text, ENVIRON)
    assert (problems(loaded), warnings(loaded)) == ([], [])

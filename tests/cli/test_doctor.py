"""`quell doctor` against fronts that spoil streams and stops, each in its own way."""

import json
import socket
from hashlib import sha256
from pathlib import Path

import pytest

from proxy.cli.doctor.front import Front
from support.doctor import ALL_WELL, LOOKED_AT, NOWHERE, a_proxy, examine, found, verdicts
from support.front import Ways, a_front
from support.program import ADMIN_TOKEN, config_text
from support.proxy import running_proxy
from support.pty_program import on_terminal
from support.scripts import answer, json_answer
from support.upstream import scripted_upstream
from support.wait import eventually

DIALECTS = (("/dify/v1", "dify"), ("/v1", "openai"))


@pytest.fixture(autouse=True)
def short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is looked at for a moment only."""
    monkeypatch.setattr(LOOKED_AT, 0.3)


async def test_all_gets_through(tmp_path: Path) -> None:
    """A front that does nothing wrong: every check is ok, with its numbers; exit code 0, and nothing runs on."""
    async with a_proxy(tmp_path) as (proxy, demo), a_front(proxy.port) as front:
        code, checks = await found(front.url, admin=proxy.admin_url)
        assert (code, verdicts(checks)) == (0, ALL_WELL), checks
        assert checks["stream"]["measured"]["behind_proxy_ms"] < 250
        assert checks["stop"]["measured"]["upstream_closed_ms"] is not None
        assert checks["disconnect"]["measured"]["cause"] == "disconnect"
        assert len(demo.calls) == 3
        await eventually(lambda: not len(proxy.app.engine.registry), what="nothing is left running")


async def test_it_is_said_in_lines(tmp_path: Path) -> None:
    """For people each check is a line that begins with its verdict, a sentence ends it; `-q` prints what is wrong."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port) as front:
        told = await examine(front.url, admin=proxy.admin_url)
        assert [line.split()[0] for line in told.stdout.splitlines()] == ["ok"] * len(ALL_WELL)
        assert told.stderr == "streams and stops get through\n"
        quiet = await examine(front.url, "-q", admin=proxy.admin_url)
        assert (quiet.exit_code, quiet.output) == (0, "")


async def test_an_interrupted_examination_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle, on a terminal with its bar: the call that ran is ended, and the cursor is back."""
    async with a_proxy(tmp_path) as (proxy, demo), a_front(proxy.port, Ways(hides_aborts=True)) as front:
        known = {"QUELL_ADMIN": proxy.admin_url, "QUELL_ADMIN_TOKEN": ADMIN_TOKEN}
        typed = ["-m", "proxy", "doctor", front.url]
        async with on_terminal(typed, tmp_path, columns=100, lines=24, **known) as terminal:
            await terminal.writes("examining")
            await eventually(lambda: demo.calls, what="a call is made")
            terminal.press("\x03")
            assert await terminal.exit_code() == 1
            await terminal.is_given_back()
            assert "Traceback" not in terminal.output
        await eventually(lambda: not len(proxy.app.engine.registry), what="nothing is left running")


async def test_without_the_admin_api(tmp_path: Path) -> None:
    """From outside alone the same is found, through the front's own way to the records, and that is said."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port) as front:
        code, checks = await found(front.url)
        assert (code, verdicts(checks)) == (0, ALL_WELL | {"admin": "skip"}), checks
        assert "can't reach the proxy" in checks["admin"]["told"]
        assert "behind_proxy_ms" not in checks["stream"]["measured"]


async def test_a_wrong_token_is_a_warning(tmp_path: Path) -> None:
    """A token that is not taken is said to be so, and what can be told from outside is told."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port) as front:
        told = await examine(front.url, admin=proxy.admin_url, QUELL_ADMIN_TOKEN="mistaken")
        assert told.exit_code == 0
        assert told.stdout.startswith("warn  admin             the proxy at ")
        assert "does not take the admin token" in told.stdout
        assert told.stderr == "it works; what could be better stands below each warning\n"


async def test_a_token_that_may_only_look(tmp_path: Path) -> None:
    """A viewer's token is enough; what it may not see is judged from outside, and that is said."""
    tokens = [{"name": "looks", "role": "viewer", "token": "v" * 32}]
    async with a_proxy(tmp_path, admin={"tokens": tokens}) as (proxy, _), a_front(proxy.port) as front:
        result = await examine(front.url, "-o", "json", admin=proxy.admin_url, QUELL_ADMIN_TOKEN="v" * 32)
        checks = {each["name"]: each for each in json.loads(result.stdout)["checks"]}
        assert (result.exit_code, verdicts(checks)) == (0, ALL_WELL), checks
        assert checks["stream"]["advice"] == [
            "judged from outside alone: the admin token may not see what models wrote"
        ]
        await eventually(lambda: not len(proxy.app.engine.registry), what="nothing is left running")


async def test_another_proxys_admin_api(tmp_path: Path) -> None:
    """An admin listener that has not seen the call is said to be another proxy's, and not believed."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with (
        a_proxy(tmp_path / "a") as (proxy, _),
        a_proxy(tmp_path / "b") as (other, _),
        a_front(proxy.port) as front,
    ):
        result = await examine(front.url, "-o", "json", admin=other.admin_url)
        checks = json.loads(result.stdout)["checks"]
        warned = [check for check in checks if check["verdict"] != "ok"]
        assert [check["name"] for check in warned] == ["admin"]
        assert "is not the one behind this front" in warned[0]["told"]


async def test_a_front_that_holds_answers_back(tmp_path: Path) -> None:
    """Where nothing comes before the end, the proxy's view tells buffering from a slow model; a stop gets through."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port, Ways(gathers=10**9)) as front:
        code, checks = await found(front.url, "--wait", "2s", admin=proxy.admin_url)
        assert code == 1
        assert checks["stream"]["told"] == (
            "nothing came within 2 s, though the proxy sends: the front holds the whole answer back"
        )
        assert checks["stop"]["verdict"] == "ok"


async def test_a_front_that_hides_aborts(tmp_path: Path) -> None:
    """A front that reads on when its client has left: exit code 6, what to change, and no call is left running."""
    async with a_proxy(tmp_path) as (proxy, _):
        async with a_front(proxy.port, Ways(hides_aborts=True, server=b"nginx/1.22.1")) as front:
            for admin in (proxy.admin_url, NOWHERE):
                code, checks = await found(front.url, "--wait", "2s", admin=admin)
                assert (code, checks["disconnect"]["verdict"], checks["early disconnect"]["verdict"]) == (
                    6,
                    "fail",
                    "fail",
                )
                assert checks["disconnect"]["advice"][0].startswith("nginx: proxy_ignore_client_abort off")
                assert checks["stop"]["verdict"] == "ok"
            await eventually(lambda: not len(proxy.app.engine.registry), what="nothing is left running")


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        (Ways(takes_from_answers=frozenset({"x-task-id"})), "taken out of the answer"),
        (Ways(takes_from_requests=frozenset({"x-task-id"})), "taken out of the request"),
        (
            Ways(takes_from_requests=frozenset({"x-task-id"}), takes_from_answers=frozenset({"x-task-id"})),
            "taken out of the answer",
        ),
    ],
)
async def test_a_front_that_takes_ids_away(tmp_path: Path, ways: Ways, words: str) -> None:
    """Whichever way the id is lost, that is said, and the call is found and stopped all the same."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port, ways) as front:
        for admin in (proxy.admin_url, NOWHERE):
            code, checks = await found(front.url, admin=admin)
            assert (code, verdicts(checks) | {"admin": "ok"}) == (1, ALL_WELL | {"ids": "fail"}), checks
            assert words in checks["ids"]["told"]


async def test_a_front_that_compresses(tmp_path: Path) -> None:
    """Compression is a warning as long as each event comes at once."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port, Ways(compresses=True)) as front:
        code, checks = await found(front.url, admin=proxy.admin_url)
        assert (code, verdicts(checks)) == (0, ALL_WELL | {"encoding": "warn"}), checks


async def test_a_front_of_an_old_kind(tmp_path: Path) -> None:
    """HTTP/1.0 towards clients is a warning."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port, Ways(version=b"HTTP/1.0")) as front:
        _, checks = await found(front.url, admin=proxy.admin_url)
        assert (checks["front"]["verdict"], checks["front"]["measured"]["version"]) == ("warn", "HTTP/1.0")


async def test_a_front_that_lets_no_stop_through(tmp_path: Path) -> None:
    """A stop that the front answers itself: exit code 6, and which path must be passed on."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port, Ways(refuses="/cancel")) as front:
        code, checks = await found(front.url, admin=proxy.admin_url)
        assert (code, checks["stop"]["verdict"]) == (6, "fail")
        assert "is answered with 403 by the front" in checks["stop"]["told"]
        assert any("/generations/ID/cancel" in line for line in checks["stop"]["advice"])


async def test_a_stop_at_another_replica(tmp_path: Path) -> None:
    """A stop that reaches a Quell which does not know the id is told apart from one that the front refuses."""
    unknown = b'{"error": {"code": "not_found", "message": "x"}}'
    ways = Ways(refuses="/cancel", status=b"404 Not Found", body=unknown)
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port, ways) as front:
        code, checks = await found(front.url, admin=proxy.admin_url)
        assert (code, checks["stop"]["verdict"]) == (6, "fail")
        assert "at a Quell that does not know the id" in checks["stop"]["told"]
        assert "they need a bus" in checks["stop"]["advice"][0]


async def test_a_front_that_cuts_streams(tmp_path: Path) -> None:
    """A stream that the front ends is said to be broken off, with the timeouts to look at."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port, Ways(cuts=1500)) as front:
        code, checks = await found(front.url, admin=proxy.admin_url)
        assert (code, checks["stream"]["verdict"], checks["stop"]["verdict"]) == (1, "fail", "skip"), checks
        assert checks["stream"]["told"].startswith("it broke off after ")
        assert any("read and idle timeouts" in line for line in checks["stream"]["advice"])


async def test_a_front_that_is_impatient(tmp_path: Path) -> None:
    """A front that closes a silent connection is found with --silence, and what to raise is said."""
    async with a_proxy(tmp_path) as (proxy, _), a_front(proxy.port, Ways(silence=1.0)) as front:
        code, checks = await found(front.url, "--silence", "3s", admin=proxy.admin_url)
        assert (code, checks["silence"]["verdict"]) == (1, "fail"), checks
        assert "ended a silent call after 1." in checks["silence"]["told"]
        assert any("keepalive: 15s" in line for line in checks["silence"]["advice"])
    (tmp_path / "b").mkdir()
    async with a_proxy(tmp_path / "b") as (proxy, _), a_front(proxy.port) as front:
        code, checks = await found(front.url, "--silence", "1s", admin=proxy.admin_url)
        assert (code, checks["silence"]["verdict"]) == (0, "ok")


async def test_a_call_that_is_refused(tmp_path: Path) -> None:
    """A proxy that takes no further call is named as the reason; the admin API is not asked for, which is there."""
    budget = {"per": "key", "window": "1h", "completion_tokens": 5}
    async with a_proxy(tmp_path, budgets=[budget]) as (proxy, _), a_front(proxy.port) as front:
        _, checks = await found(front.url, "--wait", "2s", admin=proxy.admin_url)
        assert checks["disconnect"]["verdict"] == "skip"
        assert checks["disconnect"]["told"] == "the call was refused (429)"
        assert checks["early disconnect"]["told"] == "the call was refused (429)"


async def test_a_route_that_goes_on(tmp_path: Path) -> None:
    """On a route that finishes what its client left nothing can be said of disconnects, and that is said."""
    async with a_proxy(tmp_path, route={"on_disconnect": "finish"}) as (proxy, _), a_front(proxy.port) as front:
        code, checks = await found(front.url, admin=proxy.admin_url)
        assert (code, checks["disconnect"]["verdict"]) == (0, "skip")
        assert "on_disconnect: finish" in checks["disconnect"]["told"]
        await eventually(lambda: not len(proxy.app.engine.registry), what="nothing is left running")


async def test_an_upstream_that_is_read_to_its_end(tmp_path: Path) -> None:
    """With on_stop: drain a stop and a disconnect count as soon as the proxy knows of them."""
    async with a_proxy(tmp_path, upstream={"on_stop": "drain"}) as (proxy, _), a_front(proxy.port) as front:
        _, checks = await found(front.url, "--wait", "3s")
        assert (checks["stop"]["verdict"], checks["disconnect"]["verdict"]) == ("warn", "ok"), checks
        code, checks = await found(front.url, "--wait", "3s", admin=proxy.admin_url)
        assert (code, verdicts(checks)) == (0, ALL_WELL), checks
        assert "the upstream is read on (on_stop: drain)" in checks["stop"]["told"]
        assert "reads on for the usage" in checks["disconnect"]["told"]


async def test_keys_are_sent(tmp_path: Path) -> None:
    """Without a key that the proxy knows the exit code is 5; with it all is well; a file is read for it."""
    key = "k" * 32
    file = tmp_path / "key"
    file.write_text(key + "\n")
    keys = [{"id": "acme", "hash": sha256(key.encode()).hexdigest()}]
    async with a_proxy(tmp_path, keys=keys) as (proxy, _), a_front(proxy.port) as front:
        code, checks = await found(front.url, admin=proxy.admin_url)
        assert (code, checks["quell"]["verdict"]) == (5, "fail")
        assert "--key-file or $QUELL_KEY" in checks["quell"]["advice"][0]
        code, checks = await found(front.url, "--key-file", str(file), admin=proxy.admin_url)
        assert (code, verdicts(checks)) == (0, ALL_WELL), checks


async def test_what_is_no_front_of_quell(tmp_path: Path) -> None:
    """Nobody there, something else there, the wrong route, the admin listener: each is told apart."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    code, checks = await found(url)
    assert (code, "connection refused" in checks["front"]["told"]) == (1, True)
    async with scripted_upstream(answer(200, b"<html>")) as other:
        code, checks = await found(other.origin)
        assert (code, "is no Quell (status 200)" in checks["quell"]["told"]) == (3, True)
    async with scripted_upstream(answer(502)) as other:
        code, checks = await found(other.origin)
        assert (code, "does not reach what is behind it (502)" in checks["quell"]["told"]) == (1, True)
    async with scripted_upstream(answer(301, headers=[("Location", "https://x/")])) as other:
        assert "redirects to https://x/ (301)" in (await found(other.origin))[1]["quell"]["told"]
    async with a_proxy(tmp_path) as (proxy, _):
        code, checks = await found(f"https://127.0.0.1:{proxy.port}")
        assert (code, "is it https that is spoken there?" in checks["front"]["told"]) == (1, True)
        code, checks = await found(f"http://127.0.0.1:{proxy.port}", "--route", "/v2", admin=proxy.admin_url)
        assert (code, "none of its routes begins with /v2 (it has /v1)" in checks["quell"]["told"]) == (3, True)
        code, checks = await found(proxy.admin_url)
        assert (code, "is the admin listener" in checks["quell"]["told"]) == (3, True)


async def test_which_model_is_asked(tmp_path: Path) -> None:
    """Where there is no demo and more than one model, one must be named; an unknown one is the upstream's refusal."""
    models = {"object": "list", "data": [{"id": "a"}, {"id": "b"}]}
    async with scripted_upstream(json_answer(models)) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        code, checks = await found(f"http://127.0.0.1:{proxy.port}", admin=proxy.admin_url)
        assert (code, checks["model"]["verdict"]) == (1, "fail")
        assert "--model, such as a, b" in checks["model"]["advice"][0]
        up.script = json_answer({"error": {"message": "no such model", "code": "model_not_found"}}, 404)
        code, checks = await found(f"http://127.0.0.1:{proxy.port}", "--model", "c", admin=proxy.admin_url)
        assert (code, checks["stream"]["told"]) == (3, "the call is answered with 404: no such model")


async def test_a_route_of_another_dialect(tmp_path: Path) -> None:
    """A route that speaks something else is told apart, and the one to examine is named."""
    routes = [{"path": path, "dialect": dialect, "upstream": "up"} for path, dialect in DIALECTS]
    async with a_proxy(tmp_path, routes=routes) as (proxy, demo):
        code, checks = await found(f"http://127.0.0.1:{proxy.port}/dify/v1", admin=proxy.admin_url)
        assert (code, checks["route"]["verdict"]) == (3, "fail")
        assert "speaks dify" in checks["route"]["told"]
        assert checks["route"]["advice"] == ["examine /v1 with --route: what passes there passes everywhere"]
        assert not demo.calls


async def test_an_address_with_a_path(tmp_path: Path) -> None:
    """The route's whole address works too."""
    async with a_proxy(tmp_path) as (proxy, _):
        code, checks = await found(f"http://127.0.0.1:{proxy.port}/v1/", admin=proxy.admin_url)
        assert (code, verdicts(checks)) == (0, ALL_WELL), checks
        assert "Quell itself" in checks["front"]["told"]


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["127.0.0.1:8080"], 1, "such as https://llm.example.com"),
        (["http://x", "--route", "v1"], 2, "--route is a path"),
        (["http://x", "--key", "a", "--key-file", "b"], 2, "not both"),
        (["http://x", "--key-file", "/nowhere"], 1, "can't be read"),
        (["http://x", "--key", "\u00e4"], 1, "printable ASCII"),
        (["http://x", "--wait", "10"], 2, "needs a unit"),
        (["https://x", "--ca-file", "/nowhere"], 1, "can't be read as certificates"),
    ],
)
async def test_what_is_typed_wrong(arguments: list[str], code: int, part: str) -> None:
    """It is said before anybody is called, and a key is never shown."""
    wrong = await examine(*arguments)
    assert (wrong.exit_code, part in wrong.output) == (code, True), wrong.output
    assert "secret" not in repr(Front.at("http://x", "secret", None))

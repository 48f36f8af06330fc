"""The commands that talk to a running proxy, against one that runs."""

import asyncio
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from proxy.cli.admin_client import AdminClient, CommandError, Exit, Token
from proxy.cli.health import health
from proxy.cli.ps import ps
from proxy.cli.stop import sentence, stop
from proxy.cli.tail import tail, text_of
from proxy.cli.usage import usage
from proxy.cli.version import version
from proxy.core.generation import Stop
from proxy.core.lifecycle import Cause
from proxy.edge.admin.token import SUFFIX
from support.chat import ask, chat_events, chat_object, completion_events, text
from support.client import RawClient
from support.http_bytes import Headers, header
from support.program import ADMIN_TOKEN, config_text, environment
from support.proxy import RunningProxy, running_proxy
from support.scripts import by_path, cut_at, events_then_hang, in_turn, json_answer, sse_stream
from support.upstream import Conn, Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually, within

CHAT = "/v1/chat/completions"
FIVE_WORDS = events_then_hang(chat_events(5, finish=None, done=False))


@asynccontextmanager
async def a_proxy(
    folder: Path, script: Script = FIVE_WORDS, **config: Any
) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy; without a script its upstream sends five words and then nothing."""
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, **config), folder) as proxy,
    ):
        yield proxy, up


@asynccontextmanager
async def streams(proxy: RunningProxy, *calls: tuple[str, str | None]) -> AsyncIterator[list[RawClient]]:
    """Streaming calls, each with its task id and user, that have got their five words."""
    clients = []
    try:
        for task_id, user in calls:
            client = await RawClient(proxy.port).connect()
            clients.append(client)
            headers: Headers = [("X-Task-Id", task_id), *([("X-User-Id", user)] if user else [])]
            await client.post(CHAT, ask(), headers)
            await client.until(b"data: ", 6)
        yield clients
    finally:
        for client in clients:
            client.fin()


async def run(command: click.Command, *arguments: str, url: str, **env: str | None) -> Result:
    """Run a command in a thread, with the tests' admin token in the environment."""
    known = {"QUELL_ADMIN": url, "QUELL_ADMIN_TOKEN": ADMIN_TOKEN, "NO_COLOR": "1"}
    with capture_logs():
        return await within(
            asyncio.to_thread(CliRunner().invoke, command, arguments, env={**known, **env}), f"{command.name} ends"
        )


def started(command: str, *arguments: str, url: str, stdin: int, folder: Path) -> subprocess.Popen[str]:
    """A command as a process of its own, as a terminal starts it: a runner in the background may ignore SIGINT."""
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return subprocess.Popen(
        [sys.executable, "-c", f"{heeds}; from proxy.cli.{command} import {command}; {command}()", *arguments],
        cwd=folder,
        env=environment(QUELL_ADMIN=url, QUELL_ADMIN_TOKEN=ADMIN_TOKEN),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_ps_shows_what_runs(tmp_path: Path) -> None:
    """`ps` shows a table, JSON, or ids only, with the filters that are asked for."""
    async with a_proxy(tmp_path) as (proxy, _), streams(proxy, ("one", "u1"), ("two", None)):
        url = proxy.admin_url
        table = (await run(ps, url=url)).stdout.splitlines()
        assert table[0].split() == ["ID", "AGE", "STATE", "ROUTE", "MODEL", "KEY", "USER", "CHARS"]
        assert table[1].split()[:1] + table[1].split()[2:7] == ["two", "streaming", "/v1", "scripted", "anonymous", "-"]
        assert table[2].split()[6] == "u1"
        assert (await run(ps, "-q", url=url)).stdout == "two\none\n"
        assert (await run(ps, "-q", "--user", "u1", url=url)).stdout == "one\n"
        assert (await run(ps, "-q", "--older", "1h", url=url)).stdout == ""
        shown = json.loads((await run(ps, "-o", "json", url=url)).stdout)
        assert [record["task_id"] for record in shown] == ["two", "one"]


async def test_ps_reads_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More generations than fit on a page are all shown."""
    monkeypatch.setattr("proxy.cli.admin_client.PAGE", 1)
    async with a_proxy(tmp_path) as (proxy, _), streams(proxy, ("a", None), ("b", None), ("c", None)):
        assert (await run(ps, "-q", url=proxy.admin_url)).stdout == "c\nb\na\n"


async def test_stop_by_id(tmp_path: Path) -> None:
    """A stop says how fast it was and what was kept; again says the same; an id that nobody has exits with 3."""
    async with a_proxy(tmp_path) as (proxy, up), streams(proxy, ("one", None)) as (client,):
        url = proxy.admin_url
        stopped = await run(stop, "one", "--reason", "loops", url=url)
        assert stopped.exit_code == Exit.DONE
        assert stopped.stdout.startswith("stopped one in ")
        assert stopped.stdout.endswith(" kept · upstream closed\n")
        await up.no_connections()
        assert (await client.answer()).body.endswith(b"data: [DONE]\n\n")
        record = json.loads((await run(stop, "one", "-o", "json", url=url)).stdout)[0]
        assert record["cause"] == "operator"
        missing = await run(stop, "one", "two", url=url)
        assert missing.exit_code == Exit.NOT_FOUND
        assert missing.stderr == "two: No generation has this id, or its record is no longer kept.\n"
        assert missing.stdout.startswith("stopped one in ")


async def test_stop_of_what_ended_by_itself(tmp_path: Path) -> None:
    """What had finished before is said to have, with exit code 4."""
    async with a_proxy(tmp_path, json_answer(chat_object(5))) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(CHAT, ask(stream=False), [("X-Task-Id", "one")])
        await client.answer()
        ended = await run(stop, "one", url=proxy.admin_url)
        assert (ended.exit_code, ended.stdout) == (4, "one had already finished (completed) · 5 tokens\n")


async def test_a_stop_without_confirmation_exits_with_6() -> None:
    """A stop that was not confirmed in time says so."""
    receipt = {
        "task_id": "one",
        "result": "stopping",
        "usage": {"completion_tokens": None},
        "partial": {"characters": 1},
    }
    assert sentence(receipt) == "stopping one · the upstream's close is not confirmed yet"

    async def answering(conn: Conn) -> None:
        await json_answer(receipt)(conn)

    async with scripted_upstream(answering) as fake:
        assert (await run(stop, "one", url=fake.origin)).exit_code == Exit.NOT_CONFIRMED


@pytest.mark.parametrize(
    ("most", "typical", "said"),
    [(800, 300, " · about 300 not made"), (800, None, " · at most 800 not made"), (None, None, "")],
)
def test_what_a_stop_saved_is_said(most: int | None, typical: int | None, said: str) -> None:
    """A claim where there is one, else the bound, else nothing."""
    receipt = {
        "task_id": "one",
        "result": "stopped",
        "upstream_closed_ms": 1.84,
        "usage": {"completion_tokens": 213},
        "partial": {"characters": 1},
        "saved_tokens": {"most": most, "typical": typical},
    }
    assert sentence(receipt) == f"stopped one in 1.8 ms · 213 tokens kept{said} · upstream closed"


async def test_stop_the_last_one(tmp_path: Path) -> None:
    """`--last` stops the generation that was started last, and only that."""
    async with a_proxy(tmp_path) as (proxy, _):
        async with streams(proxy, ("one", None), ("two", None)):
            assert (await run(stop, "--last", url=proxy.admin_url)).stdout.startswith("stopped two in ")
            assert (await run(ps, "-q", url=proxy.admin_url)).stdout == "one\n"
            await run(stop, "--all", "--yes", url=proxy.admin_url)
        nothing = await run(stop, "--last", url=proxy.admin_url)
        assert (nothing.exit_code, nothing.stderr) == (3, "quell: nothing runs\n")


async def test_stop_many(tmp_path: Path) -> None:
    """All of a user are stopped and named; when nothing matches, it says so and the exit code is 3."""
    calls = (("a", "u1"), ("b", "u2"), ("c", "u1"))
    async with a_proxy(tmp_path) as (proxy, up), streams(proxy, *calls):
        done = await run(stop, "--user", "u1", "--yes", url=proxy.admin_url)
        assert (done.exit_code, sorted(done.stdout.split()), done.stderr) == (0, ["a", "c"], "stopped 2\n")
        assert up.connections == 1
        none = await run(stop, "--user", "u1", "--yes", url=proxy.admin_url)
        assert (none.exit_code, none.stdout, none.stderr) == (Exit.NOT_FOUND, "", "nothing runs that matches\n")
        quiet = await run(stop, "--key", "anonymous", "-y", "-q", url=proxy.admin_url)
        assert (quiet.stdout, quiet.stderr) == ("b\n", "")


async def test_a_quiet_stop_prints_ids(tmp_path: Path) -> None:
    """`-q` prints the ids of what was stopped, for a script to go on with, and nothing else of them."""
    async with a_proxy(tmp_path) as (proxy, _), streams(proxy, ("a", None), ("b", None)):
        quiet = await run(stop, "-q", "a", "b", url=proxy.admin_url)
        assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "a\nb\n", "")


async def test_a_script_can_not_stop_many_by_mistake(tmp_path: Path) -> None:
    """Without a terminal a bulk stop needs --yes; and it must be one kind of selection."""
    async with a_proxy(tmp_path) as (proxy, up), streams(proxy, ("a", "u1")):
        for arguments in (("--all",), ("--user", "u1"), ("--all", "a"), ("--all", "--user", "u1"), ("--last", "a"), ()):
            refused = await run(stop, *arguments, url=proxy.admin_url)
            assert refused.exit_code == 2, arguments
            assert "--yes" in refused.stderr or "Say what to stop" in refused.stderr
        assert up.connections == 1


@pytest.mark.parametrize(("typed", "left", "code"), [(b"n\n", 2, Exit.FAILED), (b"y\n", 0, Exit.DONE)])
async def test_a_person_is_asked(tmp_path: Path, typed: bytes, left: int, code: Exit) -> None:
    """On a terminal a bulk stop says how many it would stop, and waits for yes."""
    ours, theirs = pty.openpty()
    try:
        async with a_proxy(tmp_path) as (proxy, up), streams(proxy, ("a", None), ("b", None)):
            process = started("stop", "--all", url=proxy.admin_url, stdin=theirs, folder=tmp_path)
            os.write(ours, typed)
            _, told = await asyncio.to_thread(process.communicate)
            assert "Stop 2 generations?" in told
            assert process.returncode == code
            assert up.connections == left
    finally:
        os.close(ours)
        os.close(theirs)


async def test_tail_shows_a_live_text_to_its_end(tmp_path: Path) -> None:
    """`tail` shows what came before and what comes, and ends with the stream; how it ended goes to standard error."""
    script = sse_stream(chat_events(13, usage=True), 0.01)
    async with a_proxy(tmp_path, script) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(CHAT, ask(), [("X-Task-Id", "one")])
        await client.until(b"data: ", 3)
        shown = await run(tail, "one", url=proxy.admin_url)
        assert (shown.exit_code, shown.stdout) == (0, text(13) + "\n")
        assert shown.stderr == "completed · 13 tokens\n"
        again = await run(tail, "one", url=proxy.admin_url)
        assert again.stdout == text(13) + "\n"


async def test_tail_ends_when_the_generation_is_stopped(tmp_path: Path) -> None:
    """A stop by somebody else ends the show at once, without a second connection."""
    async with a_proxy(tmp_path) as (proxy, _), streams(proxy, ("one", None)):
        watching = asyncio.create_task(run(tail, "one", url=proxy.admin_url))  # noqa: TID251 the test awaits it itself

        async def is_watched() -> bool:
            (relay,) = proxy.app.engine.registry
            return len(relay.readers) == 2

        await eventually(is_watched, what="the tail reads")
        relay = next(iter(proxy.app.engine.registry))
        relay.stop(Stop(Cause.OPERATOR, "admin"))
        shown = await watching
        assert shown.stdout == "Rain fell all night on \n"
        assert shown.stderr.startswith("cancelled by operator · ")


async def test_leaving_a_tail_leaves_the_generation(tmp_path: Path) -> None:
    """Ctrl-C ends the show and nothing else."""
    async with a_proxy(tmp_path) as (proxy, up), streams(proxy, ("one", None)):
        process = started("tail", "one", url=proxy.admin_url, stdin=subprocess.DEVNULL, folder=tmp_path)
        relay = next(iter(proxy.app.engine.registry))
        assert process.stdout is not None
        assert await within(asyncio.to_thread(process.stdout.read, 9), "the tail reads") == "Rain fell"
        process.send_signal(signal.SIGINT)
        _, told = await asyncio.to_thread(process.communicate)
        assert process.returncode == 130, told
        assert "the generation goes on" in told
        await eventually(lambda: len(relay.readers) == 1, what="the tail is gone")
        assert up.connections == 1


def a_fake(events: Script, **record: Any) -> Script:
    """An admin listener with one generation: its record, and a script for its events."""
    known = {"message_id": "m", "text": None, "cause": None, "completion_tokens": None, "characters": 10}
    shown = json_answer({**known, **record})
    return by_path({"/api/generations/one": shown, "/api/generations/m": shown, "/api/generations/m/events": events})


async def test_a_broken_tail_goes_on_where_it_was() -> None:
    """When the connection breaks while the generation runs, the rest is fetched, and nothing is shown twice."""
    first, second, *rest = [b"id: %d\n%b" % event for event in enumerate(chat_events(words=["a", "b"]))]
    cut = cut_at(first + second, len(first + second), "fin")
    async with scripted_upstream(a_fake(in_turn(cut, sse_stream(rest)), outcome="running")) as fake:
        shown = await run(tail, "one", url=fake.origin)
        assert (shown.exit_code, shown.stdout) == (0, "ab\n")
        asked = [header(request.headers, "Last-Event-Id") for request in fake.requests if "events" in request.target]
        assert asked == ["0", "1"]


async def test_a_tail_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that breaks again and again without an event between ends the show with one clear line."""
    monkeypatch.setattr("proxy.cli.tail.TRIES", 2)
    async with scripted_upstream(a_fake(cut_at(b"", 0, "reset"), outcome="running")) as fake:
        shown = await run(tail, "one", url=fake.origin)
        assert shown.exit_code == 1
        assert shown.stderr.startswith("quell: the stream broke off (")
        assert len([request for request in fake.requests if "events" in request.target]) == 2


async def test_a_tail_whose_events_are_gone_shows_the_kept_text() -> None:
    """When the events are no longer kept, what the record has of the text is shown."""
    gone = a_fake(json_answer({"error": {}}, 410), outcome="cancelled", cause="client", text="kept")
    async with scripted_upstream(gone) as fake:
        shown = await run(tail, "one", url=fake.origin)
        assert (shown.stdout, shown.stderr) == ("kept\n", "cancelled by client · 10 characters\n")


async def test_a_tail_of_what_is_not_kept_says_so() -> None:
    """When neither events nor text are kept, nobody is left to think that the answer was empty."""
    gone = a_fake(json_answer({"error": {}}, 410), outcome="completed", text=None)
    async with scripted_upstream(gone) as fake:
        shown = await run(tail, "one", url=fake.origin)
    kept, ending = shown.stderr.splitlines()
    assert kept == "its text is not kept, its numbers are (ledger.text, ledger.text_keep)"
    assert ending == "completed · 10 characters"


async def test_tail_of_nothing(tmp_path: Path) -> None:
    """An unknown id exits with 3, one that can be none too."""
    async with a_proxy(tmp_path) as (proxy, _):
        for any_id in ("none", "a/b", ".."):
            assert (await run(tail, any_id, url=proxy.admin_url)).exit_code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ('{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}', "a"),
        ('{"choices":[{"index":0,"text":"a"}]}', "a"),
        ('{"choices":[{"index":0,"message":{"content":"whole"}}]}', "whole"),
        ('{"choices":[{"index":0,"delta":{"refusal":"no"}}]}', "no"),
        ('{"choices":[{"index":0,"delta":{"role":"assistant"}}]}', ""),
        ('{"choices":[]}', ""),
        ('{"choices":null}', ""),
        ('{"choices":[null]}', ""),
        ('{"choices":[{"delta":{"content":7}}]}', ""),
        ('{"choices":[{"delta":"x"}]}', ""),
        ("[DONE]", ""),
        ("[]", ""),
    ],
)
def test_the_text_of_an_event(data: str, shown: str) -> None:
    """Only the first choice's text is shown, and nothing that comes can make it fail."""
    assert text_of(data) == shown


async def test_a_tail_can_not_steer_the_terminal(tmp_path: Path) -> None:
    """Control characters in a model's text are replaced, but for line ends and tabs."""
    script = sse_stream(chat_events(words=["a\x1b[2J", "\u009bb\n", "\tc\r"]))
    async with a_proxy(tmp_path, script) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(CHAT, ask(), [("X-Task-Id", "one")])
        await client.until(b"[DONE]")
        assert (await run(tail, "one", url=proxy.admin_url)).stdout == "a\ufffd[2J\ufffdb\n\tc\ufffd\n"


async def test_tail_of_completions(tmp_path: Path) -> None:
    """The legacy completions API is shown too."""
    async with a_proxy(tmp_path, sse_stream(completion_events(3))) as (proxy, _), RawClient(proxy.port) as client:
        body = {"model": "scripted", "prompt": "Hello", "stream": True}
        await client.post("/v1/completions", body, [("X-Task-Id", "one")])
        await client.until(b"[DONE]")
        assert (await run(tail, "one", url=proxy.admin_url)).stdout == text(3) + "\n"


async def test_usage(tmp_path: Path) -> None:
    """Usage comes as a table, JSON and CSV; each group has its sums."""
    async with a_proxy(tmp_path, json_answer(chat_object(5))) as (proxy, _), RawClient(proxy.port) as client:
        await client.post(CHAT, ask(stream=False), [("X-User-Id", "=cmd()")])
        await client.answer()
        url = proxy.admin_url

        async def lines() -> list[str] | None:
            shown = await run(usage, "--by", "user", "-o", "csv", url=url)
            return shown.stdout.splitlines() if ",12," in shown.stdout else None

        shown = await eventually(lines, what="the end is in the ledger")
        head = "user,generations,prompt_tokens,completion_tokens,total_tokens,cached_tokens,reasoning_tokens,unknown"
        assert shown == [f"{head},cost_unknown,saved_typical,saved_most,late_tokens", "'=cmd(),1,7,5,12,,,0,1,,,"]
        table = (await run(usage, url=url)).stdout.splitlines()
        assert table[1].split() == ["scripted", "1", "7", "5", "12", "-", "-", "0", "1", "-", "-"]
        whole = json.loads((await run(usage, "-o", "json", "--since", "1h", url=url)).stdout)
        assert whole["data"][0]["group"] == {"model": "scripted"}


@pytest.mark.parametrize(("command", "option", "typed"), [(ps, "--older", "10"), (usage, "--since", "7")])
async def test_a_duration_without_its_unit(command: click.Command, option: str, typed: str) -> None:
    """What is no duration is a mistake in what was typed: exit code 2, the option's own name, and what to type."""
    wrong = await run(command, option, typed, url="http://127.0.0.1:1")
    assert wrong.exit_code == 2
    assert f"'{option}': a duration needs a unit: {typed}s, {typed}m" in wrong.stderr


async def test_health(tmp_path: Path) -> None:
    """The probe exits with 0 while the proxy is ready, and with 1 and the reason when it is not."""
    async with a_proxy(tmp_path) as (proxy, _):
        ready = await run(health, "--admin", proxy.admin_url, url="http://127.0.0.1:1", QUELL_ADMIN_TOKEN=None)
        assert (ready.exit_code, ready.stdout) == (0, "ready\n")
        wrong = await run(health, url=f"http://127.0.0.1:{proxy.port}")
        assert (wrong.exit_code, "no admin listener" in wrong.stderr) == (1, True)
    gone = await run(health, url=proxy.admin_url)
    assert (gone.exit_code, "can't reach the proxy" in gone.stderr) == (1, True)
    for check, why in (("ledger", "ledger"), ("not_draining", "draining")):
        async with scripted_upstream(json_answer({"checks": {check: False, "config": True}}, 503)) as fake:
            not_ready = await run(health, url=fake.origin)
            assert (not_ready.exit_code, not_ready.stderr) == (1, f"quell: not ready: {why}\n")
            told = await run(health, "-o", "json", url=fake.origin)
            assert (told.exit_code, json.loads(told.stdout)["ready"]) == (1, False)


async def test_a_proxy_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says that the proxy can't be reached, where it was looked for, and how to say otherwise."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for command in (ps, usage):
        gone = await run(command, url=url)
        expected = f"quell: can't reach the proxy at {url} (connection refused). Does it run? "
        assert gone.exit_code == 1
        assert gone.stderr == expected + "Its admin address goes into --admin or QUELL_ADMIN\n"


async def test_a_wrong_or_missing_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right token the exit code is 5, and the message says where it was looked for and what to do."""
    monkeypatch.chdir(tmp_path)
    async with a_proxy(tmp_path) as (proxy, _):
        wrong = await run(ps, url=proxy.admin_url, QUELL_ADMIN_TOKEN="mistaken")
        message = f"quell: the proxy at {proxy.admin_url} does not take the admin token from $QUELL_ADMIN_TOKEN. "
        advice = "Give that proxy's own: --config with its config file, or --token-file\n"
        assert (wrong.exit_code, wrong.stderr) == (5, message + advice)
        missing = await run(ps, url=proxy.admin_url, QUELL_ADMIN_TOKEN=None)
        assert missing.exit_code == 5
        assert f"looked for {tmp_path / 'quell.db.admin_token'}. Use --token-file" in missing.stderr
        unusable = await run(ps, url=proxy.admin_url, QUELL_ADMIN_TOKEN="two words")
        assert (unusable.exit_code, "two words" in unusable.output) == (5, False)
        unreadable = await run(ps, "--token-file", "nowhere", url=proxy.admin_url)
        assert (unreadable.exit_code, unreadable.stderr) == (
            5,
            "quell: nowhere: can't be read (no such file or directory)\n",
        )


async def test_where_a_token_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is taken from --token-file, from --config, from the environment, or from beside the ledger."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "token").write_text(ADMIN_TOKEN + "\n")
    async with a_proxy(tmp_path) as (proxy, _):
        url, none = proxy.admin_url, {"QUELL_ADMIN_TOKEN": None}
        monkeypatch.chdir(folder)
        typed = await run(ps, "--token-file", "token", url=url, QUELL_ADMIN_TOKEN="mistaken")
        assert typed.exit_code == 0
        (folder / f"quell.db{SUFFIX}").write_text(ADMIN_TOKEN + "\n")
        assert (await run(ps, url=url, **none)).exit_code == 0


async def test_the_config_file_names_proxy_and_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--config` gives address and token, also where a provider's key is not set in this shell."""
    monkeypatch.chdir(tmp_path)
    async with a_proxy(tmp_path) as (proxy, _):
        file = tmp_path / "conf" / "proxy.yaml"
        file.parent.mkdir()
        admin = f"admin: {{listen: '0.0.0.0:{proxy.admin_port}', token_file: token}}\n"
        file.write_text("upstreams: {up: {base_url: 'http://x', api_key: '${NOT_SET_HERE}'}}\n" + admin)
        missing = await run(ps, "--config", str(file), url="http://127.0.0.1:1", QUELL_ADMIN_TOKEN="mistaken")
        assert missing.exit_code == 1
        assert missing.stderr.startswith(f"quell: {file}:2:")
        assert "admin.token_file" in missing.stderr
        assert "NOT_SET_HERE" not in missing.stderr
        (file.parent / "token").write_text(ADMIN_TOKEN)
        found = await run(ps, "--config", str(file), url="http://127.0.0.1:1", QUELL_ADMIN_TOKEN="mistaken")
        assert (found.exit_code, found.stderr) == (0, "nothing runs\n")
        file.write_text(f"admin: {{listen: '127.0.0.1:{proxy.admin_port}'}}\nledger: {{url: 'sqlite:///data.db'}}\n")
        beside = file.parent / "data.db.admin_token"
        beside.write_text(ADMIN_TOKEN)
        found = await run(ps, "--config", str(file), url="http://127.0.0.1:1", QUELL_ADMIN_TOKEN=None)
        assert (found.exit_code, found.stderr) == (0, "nothing runs\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("admin: {listen: '127.0.0.1:0'}", "admin.listen has port 0"),
        ("admin: {listen: 'nowhere'}", "proxy.yaml:1:17: admin.listen: expected HOST:PORT"),
        ("admin: {token: '${NOT_SET_HERE}'}", "the variable NOT_SET_HERE is not set"),
        ("- a list", "proxy.yaml:1:1"),
        ("a: [", "proxy.yaml:2:1"),
        (None, "can't be read (no such file"),
    ],
)
async def test_a_config_file_that_names_no_proxy(tmp_path: Path, content: str | None, words: str) -> None:
    """What is wrong with the file is said with its place, and nothing is guessed."""
    file = tmp_path / "proxy.yaml"
    if content is not None:
        file.write_text(content)
    refused = await run(ps, "--config", str(file), url="http://127.0.0.1:1", QUELL_ADMIN_TOKEN=None)
    assert refused.exit_code == 1
    assert words in refused.stderr
    assert "Traceback" not in refused.output


async def test_the_token_is_sent_to_one_address_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect is not followed and a proxy of the environment not used: the token would go to a stranger."""
    async with scripted_upstream(json_answer({"data": [], "next_cursor": None})) as other:
        monkeypatch.setenv("http_proxy", other.origin)
        redirect = json_answer({}, 302, [("Location", f"{other.origin}/api/generations")])
        async with scripted_upstream(redirect) as fake:
            answered = await run(ps, url=fake.origin)
            assert (answered.exit_code, len(fake.requests), len(other.requests)) == (1, 1, 0)
            assert "no admin listener of Quell" in answered.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8485", "ftp://x", "http://", "http://u:p@x", "http://x:y", "http://[x"])
def test_an_address_that_is_none(url: str) -> None:
    """What can't be the admin listener's address is refused without a call."""
    with pytest.raises(CommandError, match="must be a URL such as"):
        AdminClient(url, Token("secret", "here"))
    assert "secret" not in repr(Token("secret", "here"))


async def test_the_proxys_own_port_is_told_apart(tmp_path: Path) -> None:
    """Somebody who names the proxy's address instead of the admin listener's is told so, not 'not found'."""
    async with a_proxy(tmp_path) as (proxy, _):
        for command, arguments in ((ps, ()), (stop, ("one",)), (tail, ("one",))):
            answered = await run(command, *arguments, url=f"http://127.0.0.1:{proxy.port}")
            assert (answered.exit_code, "no admin listener of Quell" in answered.stderr) == (1, True)


async def test_version() -> None:
    """The version is printed with what it runs on."""
    assert (await run(version, url="")).stdout.startswith("quell 0.")
    assert json.loads((await run(version, "-o", "json", url="")).stdout)["quell"].startswith("0.")

"""The program as a process: signals, a kill, a reload, what its log says, and what it must never say."""

import asyncio
import json
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.stores.ledger.verify import verify_file
from support.chat import DONE, UPSTREAM_ID, chat_events, text
from support.client import Answer, RawClient
from support.program import ADMIN_TOKEN, START_PATIENCE, Program, config_text, environment, running_program
from support.scripts import events_then_hang, hang, json_answer, sse_stream
from support.stops import CHAT, STREAM
from support.upstream import scripted_upstream
from support.wait import PATIENCE, eventually

SAID = chat_events(8)[:-2]
PRICES = """\
version: "1"
currency: USD
models: {"*": {input: "1", output: "4"}}
"""
SLOW_DRAIN = {"ready_delay": "0s", "timeout": "30s"}


async def get(port: int, path: str) -> Answer:
    """A GET with the operator's token."""
    async with RawClient(port) as client:
        await client.get(path, [("Authorization", f"Bearer {ADMIN_TOKEN}")])
        return await client.answer()


async def post(port: int, path: str, body: Any = b"", **headers: str) -> Answer:
    """A POST on a connection of its own."""
    async with RawClient(port) as client:
        await client.post(path, body, [(name.replace("_", "-"), value) for name, value in headers.items()])
        return await client.answer()


def rows(folder: Path) -> dict[str, tuple[str, str | None]]:
    """What the ledger file says: outcome and text by task id."""
    with sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True) as db:
        found = {
            task: (outcome, text) for task, outcome, text in db.execute("select task_id, outcome, text from generation")
        }
    db.close()
    return found


async def test_drain_lets_running_work_end(tmp_path: Path) -> None:
    """P1: SIGTERM makes us unready at once, refuses new work with 503, lets a running stream end, logs it, exits 0."""
    release = asyncio.Event()

    async def script(conn: Any) -> None:
        await conn.head(200, [("Content-Type", "text/event-stream")])
        for event in SAID:
            await conn.chunk(event)
        await release.wait()
        for event in chat_events(8)[-2:]:
            await conn.chunk(event)
        await conn.end()

    async with scripted_upstream(script) as up:
        async with running_program(config_text(up.base_url, drain=SLOW_DRAIN), tmp_path) as program:
            async with RawClient(program.port) as client:
                await client.post(CHAT, STREAM)
                await client.until(b"data:", len(SAID))
                program.signal(signal.SIGTERM)
                await eventually(lambda: readiness(program), what="not ready any more")
                refused = await eventually(lambda: refusal(program), what="new work is refused")
                release.set()
                answer = await client.answer()
            assert await program.exit_code() == 0
    assert events(program, "drain") == [
        ("drain.begun", {"running": 1, "ready_delay": 0.0, "timeout": 30.0}),
        ("drain.ended", {"stopped": 0}),
    ]
    assert refused is not None
    assert refused.header("Retry-After") is not None
    assert answer.complete
    assert answer.body == b"".join(chat_events(8))


def events(program: Program, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """The log's lines whose event begins so, with their fields."""
    lines = [json.loads(line) for line in program.log().splitlines() if line.startswith("{")]
    own = {"event", "level", "timestamp"}
    return [
        (line["event"], {key: value for key, value in line.items() if key not in own})
        for line in lines
        if line["event"].startswith(prefix)
    ]


async def readiness(program: Program) -> bool:
    """Whether /readyz says no."""
    return (await get(program.admin_port, "/readyz")).status == 503


async def refusal(program: Program) -> Answer | None:
    """The answer to new work, once it is a 503."""
    answer = await post(program.port, CHAT, {**STREAM, "stream": False})
    return answer if answer.status == 503 else None


async def test_drain_over_its_time_stops_properly(tmp_path: Path) -> None:
    """P1: what still runs after the drain time is stopped with a proper end, cause shutdown, its partial kept."""
    config = {"drain": {"ready_delay": "0s", "timeout": "100ms"}}
    async with scripted_upstream(events_then_hang(SAID)) as up:
        async with running_program(config_text(up.base_url, **config), tmp_path) as program:
            async with RawClient(program.port) as client, RawClient(program.port) as silent:
                await client.post(CHAT, STREAM, [("X-Task-Id", "t-1")])
                await client.until(b"data:", len(SAID))
                up.script = hang()
                await silent.post(CHAT, STREAM, [("X-Task-Id", "t-2")])
                await up.conn(1)
                program.signal(signal.SIGTERM)
                answer, unheard = await client.answer(), await silent.answer()
            assert await program.exit_code() == 0
    assert events(program, "drain.ended") == [("drain.ended", {"stopped": 2})]
    assert answer.complete
    assert answer.events[-1] == DONE
    assert b"cause=shutdown" in answer.body
    assert (unheard.status, unheard.header("Retry-After")) == (503, "1")
    assert rows(tmp_path) == {"t-1": ("cancelled", text(8)), "t-2": ("cancelled", "")}


async def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    """P2: a second SIGTERM ends the drain at once, and the ledger is flushed all the same."""
    async with scripted_upstream(events_then_hang(SAID)) as up:
        async with running_program(config_text(up.base_url, drain=SLOW_DRAIN), tmp_path) as program:
            async with RawClient(program.port) as client:
                await client.post(CHAT, STREAM, [("X-Task-Id", "t-1")])
                await client.until(b"data:", len(SAID))
                program.signal(signal.SIGTERM)
                await eventually(lambda: '"drain.begun"' in program.log(), what="the drain has begun")
                program.signal(signal.SIGTERM)
                answer = await client.answer()
            assert await program.exit_code() == 0
            assert program.log().count('"drain.hurried"') == 1
    assert answer.events[-1] == DONE
    assert rows(tmp_path)["t-1"] == ("cancelled", text(8))


async def test_it_outlives_whoever_reads_its_log(tmp_path: Path) -> None:
    """With nobody left to read its output it goes on: a stream is stopped and recorded, SIGTERM drains, exit code 0."""
    async with scripted_upstream(events_then_hang(SAID)) as up:
        (tmp_path / "quell.yaml").write_text(config_text(up.base_url))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "serve", "--config", "quell.yaml"),
            cwd=tmp_path,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            port = await printed_port(process)
            process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # no public way
            async with RawClient(port) as client:
                await client.post(CHAT, STREAM, [("X-Task-Id", "t-1")])
                await client.until(b"data:", len(SAID))
                assert (await post(port, "/v1/generations/t-1/cancel")).json()["result"] == "stopped"
                assert (await client.answer()).events[-1] == DONE
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert rows(tmp_path) == {"t-1": ("cancelled", text(8))}


async def printed_port(process: asyncio.subprocess.Process) -> int:
    """The proxy's port, once the whole banner has been read."""
    assert process.stdout is not None
    found = b""
    async with asyncio.timeout(START_PATIENCE):
        while b"/ui" not in found:
            found += await process.stdout.readline()
    return int(found.partition(b"proxy     http://127.0.0.1:")[2].partition(b"/")[0])


async def test_the_commands_to_try_name_a_key_where_one_is_needed(tmp_path: Path) -> None:
    """With keys in the config file both printed commands have a place for one, without keys none."""
    keys = [{"id": "acme", "hash": "0" * 64}]
    for count, given in ((2, keys), (0, [])):
        async with running_program(config_text("http://127.0.0.1:9/v1", keys=given), tmp_path) as program:
            await eventually(lambda: "stop it:" in program.log(), what="the whole banner was printed")
            assert program.log().count("-H 'Authorization: Bearer YOUR_KEY'") == count


async def test_kill_loses_no_start_and_at_most_a_flush(tmp_path: Path) -> None:
    """P3: after SIGKILL every started one has a row: interrupted, counted and logged at the next start, text kept."""
    streams = 20
    async with scripted_upstream(events_then_hang(SAID)) as up:
        config = config_text(up.base_url, ledger={"flush": "50ms"})
        async with running_program(config, tmp_path) as program:
            clients = [await RawClient(program.port).connect() for _ in range(streams)]
            for number, client in enumerate(clients):
                await client.post(CHAT, STREAM, [("X-Task-Id", f"t-{number}")])
            for client in clients:
                await client.until(b"data:", len(SAID))
            await eventually(lambda: pieces(tmp_path) == streams, what="every stream's text was flushed")
            program.kill()
            for client in clients:
                client.reset()
        async with running_program(config, tmp_path) as program:
            found = rows(tmp_path)
            await eventually(lambda: events(program, "ledger.interrupted"), what="the start said what it found")
            assert events(program, "ledger.interrupted") == [("ledger.interrupted", {"generations": streams})]
            metrics = (await get(program.admin_port, "/metrics")).body
    assert f'quell_generations_total{{outcome="interrupted",route="/v1",upstream="up"}} {streams}.0'.encode() in metrics
    assert found == {f"t-{number}": ("interrupted", text(8)) for number in range(streams)}


async def test_kill_leaves_a_record_that_can_be_billed(tmp_path: Path) -> None:
    """P3: a record cut off by SIGKILL knows the upstream's id and usage; without usage its text is counted later.

    Its tokens are in the metrics of the process that settles it, once.
    """
    told = chat_events(8, usage=True, finish=None, done=False, upstream_id="up-1", prompt_tokens=3)
    async with scripted_upstream(events_then_hang(told)) as up:
        config = config_text(up.base_url, ledger={"flush": "50ms"})
        async with running_program(config, tmp_path) as program:
            async with RawClient(program.port) as one, RawClient(program.port) as other:
                await one.post(CHAT, STREAM, [("X-Task-Id", "told")])
                await one.until(b"data:", len(SAID))
                up.script = events_then_hang(SAID)
                await other.post(CHAT, STREAM, [("X-Task-Id", "untold")])
                await other.until(b"data:", len(SAID))
                await eventually(lambda: pieces(tmp_path) == 2, what="every stream's text was flushed")
                await eventually(lambda: usage(tmp_path) == [8], what="the usage was flushed")
                program.kill()
        async with running_program(config, tmp_path) as program:
            await eventually(lambda: "left_records_settled" in program.log(), what="what was left is counted")
            found = [(await get(program.admin_port, f"/api/generations/{task}")).json() for task in ("told", "untold")]
            metrics = (await get(program.admin_port, "/metrics")).body.decode()
    for kind, source, tokens in (
        ("prompt", "upstream", 3),
        ("completion", "upstream", 8),
        ("completion", "tokenizer", 9),
    ):
        labels = f'kind="{kind}",model="scripted",source="{source}",upstream="up"'
        assert f"quell_tokens_total{{{labels}}} {tokens}.0" in metrics
    names = ("outcome", "phase", "upstream_id", "prompt_tokens", "completion_tokens", "usage_source")
    assert [tuple(each[name] for name in names) for each in found] == [
        ("interrupted", "streaming", "up-1", 3, 8, "upstream"),
        ("interrupted", "streaming", UPSTREAM_ID, None, 9, "tokenizer"),
    ]
    assert all(each["first_token_at"] and each["upstream_model"] for each in found)
    assert verify_file(tmp_path / "quell.db").findings == []


def usage(folder: Path) -> list[int]:
    """The completion tokens that are on disk."""
    with sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True) as db:
        found = db.execute("select completion_tokens from generation where completion_tokens is not null").fetchall()
    db.close()
    return [number for (number,) in found]


def pieces(folder: Path) -> int:
    """How many generations have text on disk."""
    with sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True) as db:
        number = int(db.execute("select count(distinct uid) from generation_text").fetchone()[0])
    db.close()
    return number


@pytest.mark.parametrize("asked", ["none", "final"])
async def test_what_a_kill_cuts_off_can_be_billed(tmp_path: Path, asked: str) -> None:
    """Its prompt was counted while it ran, its text is counted at the next start, and it gets its price once.

    Also where the upstream was asked for its usage, and the kill came before that.
    """
    (tmp_path / "prices.yaml").write_text(PRICES)
    config = {"prices": {"file": "prices.yaml"}, "ledger": {"flush": "20ms"}, "upstream": {"usage": asked}}
    billed = (
        "SELECT outcome, usage_source, prompt_tokens, completion_tokens, cost, text FROM generation "
        "JOIN settled USING (uid)"
    )
    async with scripted_upstream(events_then_hang(SAID)) as up:
        async with running_program(config_text(up.base_url, **config), tmp_path) as program:
            async with RawClient(program.port) as client:
                await client.post(CHAT, STREAM, [("X-Task-Id", "t-1")])
                await client.until(b"data:", len(SAID))
                known = "SELECT prompt_tokens FROM generation WHERE usage_source = 'tokenizer'"
                await eventually(lambda: ask(tmp_path, known), what="its prompt is on disk")
                await eventually(lambda: ask(tmp_path, "SELECT * FROM generation_text"), what="its text is on disk")
                program.kill()
        async with running_program(config_text(up.base_url, **config), tmp_path):
            await eventually(lambda: ask(tmp_path, billed), what="it is settled")
    [(outcome, source, prompt, completion, cost, kept)] = ask(tmp_path, billed)
    assert (outcome, source) == ("interrupted", "tokenizer")
    assert text(8).startswith(kept)
    assert prompt > 0
    assert completion > 0
    assert cost == (prompt + 4 * completion) * 10**6  # in units of the twelfth digit


def ask(folder: Path, statement: str) -> list[Any]:
    """Rows of the ledger's file."""
    with closing(sqlite3.connect(f"file:{folder / 'quell.db'}?mode=ro", uri=True)) as db:
        return db.execute(statement).fetchall()


async def test_reload_takes_all_or_nothing(tmp_path: Path) -> None:
    """F5, F6: SIGHUP with a bad file changes nothing; with a good one new work goes the new way, old streams stay."""
    async with scripted_upstream(events_then_hang(SAID)) as old, scripted_upstream(sse_stream(chat_events(2))) as new:
        config = config_text(old.base_url)
        async with running_program(config, tmp_path) as program, RawClient(program.port) as client:
            await client.post(CHAT, STREAM, [("X-Task-Id", "t-1")])
            await client.until(b"data:", len(SAID))
            file = tmp_path / "quell.yaml"
            file.write_text(config.replace("base_url", "bse_url"))
            program.signal(signal.SIGHUP)
            await eventually(lambda: "the old ones stay" in program.log(), what="the bad file is refused")
            assert "did you mean 'base_url'" in program.log() or "base_url" in program.log()
            assert b"quell_config_reload_success 0.0" in (await get(program.admin_port, "/metrics")).body
            file.write_text(config.replace(old.base_url, new.base_url))
            program.signal(signal.SIGHUP)
            await eventually(lambda: "settings were reloaded" in program.log(), what="the good file is taken")
            assert (await post(program.port, CHAT, STREAM)).body == b"".join(chat_events(2))
            stopped = await post(program.port, "/v1/generations/t-1/cancel")
            assert (await client.answer()).events[-1] == DONE
    assert stopped.json()["result"] == "stopped"


async def test_no_credential_and_no_text_anywhere(tmp_path: Path) -> None:
    """Z3: neither credentials nor texts are in the log, the metrics, the shown config or the records' other fields."""
    caller, provider, prompt = "sk-caller-canary-1", "sk-provider-canary-2", "prompt-canary-3"
    body = {**STREAM, "messages": [{"role": "user", "content": prompt}]}
    async with scripted_upstream(sse_stream(chat_events(3))) as up:
        config = config_text(up.base_url, upstream={"api_key": provider}, observability={"log": {"level": "debug"}})
        async with running_program(config, tmp_path) as program:
            bearer = {"Authorization": f"Bearer {caller}"}
            await post(program.port, CHAT, body, **bearer)
            await post(program.port, CHAT, b'{"messages": ' + prompt.encode(), **bearer)
            up.script = json_answer({"error": {"message": "no"}}, 401)
            await post(program.port, CHAT, body, **bearer)
            sent = [header for request in up.requests for header in request.headers]
            seen = [
                (await get(program.admin_port, path)).raw.decode()
                for path in ("/metrics", "/api/config", "/api/generations", "/api/upstreams")
            ]
        everything = [
            program.log(),
            *seen,
            *(file.read_bytes().decode(errors="replace") for file in tmp_path.glob("*.db*")),
        ]
    assert ("Authorization", f"Bearer {provider}") in sent
    assert not [value for _, value in sent if caller in value]
    for canary in (caller, provider, prompt):
        assert not [where for where in everything if canary in where]


async def test_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    """A port in use ends the start with exit code 1 and one line that names the port and the key."""
    async with scripted_upstream(hang()) as up:
        config = config_text("http://127.0.0.1:9/v1", listen=f"127.0.0.1:{up.port}")
        file = tmp_path / "quell.yaml"
        file.write_text(config)
        program = Program(["-m", "proxy", "serve", "--config", str(file)], tmp_path, env())
        assert await program.exit_code(30) == 1
    lines = program.log().splitlines()
    assert len(lines) == 1
    assert f"127.0.0.1:{up.port}" in lines[0]
    assert "listen" in lines[0]


def env() -> dict[str, str]:
    """The environment of a program started by hand."""
    from support.program import environment  # noqa: PLC0415 used by this one test

    return environment()

"""`ps --watch` and `-o wide`, and `tail` with its key, on a terminal."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.cli.ps import ps
from support.chat import ask, chat_events
from support.client import RawClient
from support.command import run
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.pty_program import TerminalProgram, on_terminal
from support.scripts import events_then_hang, json_answer
from support.upstream import ScriptedUpstream, scripted_upstream
from support.wait import eventually

CHAT = "/v1/chat/completions"


@asynccontextmanager
async def one_stream(folder: Path) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy with one stream that has got its five words."""
    script = events_then_hang(chat_events(5, finish=None, done=False))
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), folder) as proxy:
        async with RawClient(proxy.port) as client:
            await client.post(CHAT, ask(), [("X-Task-Id", "one"), ("X-User-Id", "u1")])
            await client.until(b"data: ", 6)
            yield proxy, up


@asynccontextmanager
async def quell(folder: Path, *arguments: str, url: str) -> AsyncIterator[TerminalProgram]:
    """The program on a terminal."""
    async with on_terminal(
        ["-m", "proxy", *arguments], folder, QUELL_ADMIN=url, QUELL_ADMIN_TOKEN=ADMIN_TOKEN, columns=160
    ) as terminal:
        yield terminal


async def test_wide(tmp_path: Path) -> None:
    """`-o wide` adds what the table has no room for."""
    async with one_stream(tmp_path) as (proxy, _):
        heads, line = (await run(ps, "-o", "wide", url=proxy.admin_url)).stdout.splitlines()
        assert heads.split()[7:] == ["CHARS", "TOKENS", "COST", "UPSTREAM", "REPLICA", "TAGS", "MESSAGE", "ID"]
        relay = next(iter(proxy.app.engine.registry))
        assert line.split()[-1] == relay.generation.facts.message_id


async def test_watch_stays_in_place(tmp_path: Path) -> None:
    """On a terminal the table is drawn anew in its place; Ctrl-C ends it with 130."""
    async with one_stream(tmp_path) as (proxy, _):
        async with quell(tmp_path, "ps", "-w", "--every", "50ms", url=proxy.admin_url) as terminal:
            await eventually(lambda: terminal.output.count("\x1b[2J\x1b[H") >= 3, what="it is drawn again")
            await terminal.shows("u1")
            terminal.press("\x03")
            assert await terminal.exit_code() == 130
            assert "Traceback" not in terminal.output


async def test_watch_waits_for_a_proxy_that_is_away(tmp_path: Path) -> None:
    """A proxy that restarts is waited for; one that was never there is an error."""
    async with scripted_upstream(json_answer({"data": [], "next_cursor": None})) as fake:
        async with quell(tmp_path, "ps", "-w", "--every", "50ms", "-o", "json", url=fake.origin) as terminal:
            await terminal.writes("[]")
            fake.script = json_answer({"error": {"code": "x", "message": "not now"}}, 503)
            await terminal.writes("not now; trying again")
            fake.script = json_answer({"data": [{"message_id": "m"}], "next_cursor": None})
            await terminal.writes(json.dumps([{"message_id": "m"}]))
            terminal.press("\x03")
            assert await terminal.exit_code() == 130
    async with quell(tmp_path, "ps", "-w", url="http://127.0.0.1:1") as terminal:
        assert await terminal.exit_code() == 1


async def test_watched_ids_come_once(tmp_path: Path) -> None:
    """With `-q` each id is printed when it is seen first, and not again."""
    async with one_stream(tmp_path) as (proxy, _):
        async with quell(tmp_path, "ps", "-qw", "--every", "50ms", url=proxy.admin_url) as terminal:
            await terminal.writes("one")
            async with RawClient(proxy.port) as client:
                await client.post(CHAT, ask(), [("X-Task-Id", "two")])
                await terminal.writes("two")
            terminal.signal(signal.SIGINT)
            await terminal.exit_code()
            assert terminal.output.split() == ["one", "two", "^C"][: len(terminal.output.split())]


async def test_tail_stops_by_a_key(tmp_path: Path) -> None:
    """On a terminal `s` stops what is shown; the receipt and the ending are told, and the terminal is as before."""
    async with one_stream(tmp_path) as (proxy, up):
        async with quell(tmp_path, "tail", "one", url=proxy.admin_url) as terminal:
            await terminal.writes("Rain fell all night on")
            await eventually(lambda: terminal.has_single_keys, what="it hears keys")
            terminal.press("x")
            assert up.connections == 1
            terminal.press("s")
            assert await terminal.exit_code() == 0
            await terminal.writes("stopped one in ")
            await terminal.writes("cancelled by operator")
            await terminal.is_given_back()
        await up.no_connections()


@pytest.mark.parametrize("ends_it", ["\x03", ""])
async def test_leaving_a_tail_on_a_terminal(tmp_path: Path, ends_it: str) -> None:
    """Ctrl-C, or a signal, ends the show and gives the terminal back; the generation goes on."""
    async with one_stream(tmp_path) as (proxy, up):
        async with quell(tmp_path, "tail", "one", url=proxy.admin_url) as terminal:
            await terminal.writes("s stops it; Ctrl-C ends the show and lets it go on")
            await eventually(lambda: terminal.has_single_keys, what="it hears keys")
            if ends_it:
                terminal.press(ends_it)
            else:
                terminal.signal(signal.SIGINT)
            assert await terminal.exit_code() == 130
            await terminal.writes("no longer shown; the generation goes on by itself")
            await terminal.is_given_back()
        assert up.connections == 1

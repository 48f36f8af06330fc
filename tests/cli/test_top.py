"""`quell top` on a real terminal, against a proxy that runs and against feeds that say what a test wants."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.keys import Key, KeyReader
from proxy.cli.output import width_of
from proxy.cli.top.asked import ORDERS, Asked
from proxy.cli.top.table import laid_out
from proxy.cli.top.view import Known, View
from support.chat import ask, chat_events
from support.client import RawClient
from support.program import ADMIN_TOKEN, config_text, environment
from support.proxy import RunningProxy, running_proxy
from support.pty_program import TerminalProgram, on_terminal
from support.scripts import SSE, by_path, events_then_hang, in_turn, json_answer, sse_stream
from support.upstream import Conn, Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually

TOP = ["-m", "proxy", "top"]
CHAT = "/v1/chat/completions"


def row(number: int, **facts: Any) -> dict[str, Any]:
    """A row of the feed."""
    known = {
        "id": f"m{number}",
        "task_id": f"task-{number}",
        "started_at": "2026-11-26T07:00:00.000Z",
        "first_token_at": "2026-11-26T07:00:01.000Z",
        "age_seconds": 11.0,
        "state": "streaming",
        "model": "gpt-4o",
        "user": f"u{number}",
        "key_id": "acme",
        "route": "/v1",
        "upstream": "openai",
        "completion_tokens": 100,
        "characters": 400,
        "cost": "0.000700",
        "currency": "USD",
        "replica": "a",
        "cancel_asked": False,
    }
    return known | facts


def event(kind: str, **told: Any) -> bytes:
    """An event of the feed."""
    return b"event: %b\nid: 1\ndata: %b\n\n" % (kind.encode(), json.dumps(told).encode())


def page(*rows: dict[str, Any], total: int | None = None) -> bytes:
    """The feed's first event."""
    count = len(rows) if total is None else total
    return event("page", at="2026-11-26T07:00:11Z", total=count, matched=count, rows=list(rows))


def a_feed(*events: bytes) -> Script:
    """An admin listener whose feed sends these, and then nothing."""
    live = json_answer({"object": "list", "data": [], "next_cursor": None})
    stopped = json_answer(
        {
            "task_id": "task-2",
            "result": "stopped",
            "upstream_closed_ms": 1.84,
            "usage": {"completion_tokens": 101},
            "partial": {"characters": 404},
        }
    )
    feed = events_then_hang(list(events))
    return by_path({"/api/generations": live, "/api/feed": feed, "/api/generations/m2/cancel": stopped})


def a_feed_in_steps(goes_on: asyncio.Event, first: bytes, then: bytes) -> Script:
    """An admin listener whose feed sends this, and when it may go on that."""

    async def feed(conn: Conn) -> None:
        await conn.head(200, SSE)
        await conn.chunk(first)
        await goes_on.wait()
        await conn.chunk(then)
        await conn.sleep_until_closed()

    live = json_answer({"object": "list", "data": [], "next_cursor": None})
    return by_path({"/api/generations": live, "/api/feed": feed})


@asynccontextmanager
async def top_of(folder: Path, script: Script, **size: Any) -> AsyncIterator[tuple[TerminalProgram, ScriptedUpstream]]:
    """`top` on a terminal, in front of what answers like an admin listener."""
    async with scripted_upstream(script) as fake, top_at(fake.origin, folder, **size) as terminal:
        yield terminal, fake


@asynccontextmanager
async def top_at(url: str, folder: Path, token: str = ADMIN_TOKEN, **size: Any) -> AsyncIterator[TerminalProgram]:
    """`top` on a terminal."""
    async with on_terminal(TOP, folder, QUELL_ADMIN=url, QUELL_ADMIN_TOKEN=token, **size) as terminal:
        yield terminal


@asynccontextmanager
async def streams(proxy: RunningProxy, *task_ids: str) -> AsyncIterator[None]:
    """Streaming calls that have got some words."""
    clients = []
    try:
        for task_id in task_ids:
            client = await RawClient(proxy.port).connect()
            clients.append(client)
            await client.post(CHAT, ask(), [("X-Task-Id", task_id), ("X-User-Id", f"user-{task_id}")])
            await client.until(b"data: ", 6)
        yield
    finally:
        for client in clients:
            client.fin()


def ids(screen: list[str]) -> list[str]:
    """The ids in the table on a screen, the selected one with its mark."""
    return [" ".join(line.split()[: 2 if line.startswith(">") else 1]) for line in table(screen)]


def table(screen: list[str]) -> list[str]:
    """The rows of the table on a screen."""
    heads = [number for number, line in enumerate(screen) if line.split()[:2] == ["ID", "AGE"]]
    return [line for line in screen[heads[0] + 1 : -1] if line] if heads else []


async def test_what_runs_is_shown_and_stopped(tmp_path: Path) -> None:
    """The selected one is stopped after Enter, with the reason that was typed; `q` gives the terminal back."""
    script = events_then_hang(chat_events(5, finish=None, done=False))
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        async with streams(proxy, "one", "two", "three"), top_at(proxy.admin_url, tmp_path) as terminal:
            screen = await terminal.shows("three")
            assert ids(screen) == ["> three", "two", "one"]
            assert terminal.has_single_keys
            terminal.press("j")
            await terminal.shows("> two")
            terminal.press("s")
            await terminal.shows("Enter stops two (scripted, user-two), Esc does not")
            terminal.press("loops")
            await terminal.shows("loops_")
            assert up.connections == 3
            terminal.press("\r")
            await terminal.shows("stopped two in ")
            await eventually(lambda: up.connections == 2, what="its upstream is closed")
            await eventually(lambda: len(table(terminal.screen)) == 2, what="it is gone from the table")
            terminal.press("q")
            assert await terminal.exit_code() == 0
            await terminal.is_given_back()
        record = await proxy.app.engine.ledger.find(None, "two")
        assert record is not None
        assert (record.cause, record.reason) == ("operator", "loops")


async def test_a_stop_is_asked_before(tmp_path: Path) -> None:
    """Escape leaves what was to be stopped, and any other key than Enter stops nothing."""
    async with top_of(tmp_path, a_feed(page(row(1), row(2)))) as (terminal, fake):
        await terminal.shows("> task-1")
        terminal.press("\x1b[B")
        await terminal.shows("> task-2")
        terminal.press("sy")
        await terminal.shows("Enter stops task-2 (gpt-4o, u2), Esc does not; why (optional): y_")
        terminal.press("\x1b")
        await terminal.shows("nothing was stopped")
        assert not [request for request in fake.requests if request.method == "POST"]
        terminal.press("s\r")
        await terminal.shows("stopped task-2 in 1.8 ms · 101 tokens kept · upstream closed")


async def test_changes_come_by_the_feed(tmp_path: Path) -> None:
    """New rows, new numbers, a new order, rows that are gone and the summary are shown as they come."""
    today = {"generations": 214, "stopped": 37, "completion_tokens": 9000, "cost": {"USD": "1.20"}}
    saved = {"saved_tokens": {"typical": 12034, "most": 20000}}
    change = event(
        "change",
        total=2,
        matched=2,
        order=["m3", "m1"],
        rows=[row(3, completion_tokens=7), row(1, cancel_asked=True)],
        gone=[{"id": "m2", "task_id": "task-2", "outcome": "completed"}],
    )
    summary = event("summary", live=9, reading_on=1, queued=0, today=today | saved, orphans=1)
    goes_on = asyncio.Event()
    async with top_of(tmp_path, a_feed_in_steps(goes_on, page(row(1), row(2)), summary + change)) as (terminal, fake):
        await terminal.shows("> task-1")
        goes_on.set()
        screen = await terminal.shows("task-3")
        assert ids(screen) == ["task-3", "> task-1"]
        assert "stopping" in table(screen)[1]
        assert "2 live · 1 reading on" in screen[0]
        told = "today 214 · stopped 37 · 9,000 tokens · 1.20 USD · about 12,034 tokens saved · 1 ORPHANED"
        assert screen[1] == told
        assert [request.target for request in fake.requests if "feed" in request.target] == ["/api/feed?limit=200"]


async def test_a_proxy_without_a_feed(tmp_path: Path) -> None:
    """An older proxy is asked for its list again and again, and that is said; the order is made here."""
    live = [
        {
            "message_id": f"m{number}",
            "task_id": f"task-{number}",
            "phase": "streaming",
            "elapsed_seconds": 60.0 - number,
        }
        | {"cause": None, "completion_tokens": number}
        for number in range(3)
    ]
    listed = json_answer({"object": "list", "data": live[::-1], "next_cursor": None, "complete": False})
    no_feed = json_answer({"error": {"code": "not_found", "message": "x"}}, 404)
    async with top_of(tmp_path, by_path({"/api/generations": listed, "/api/feed": no_feed})) as (terminal, _):
        screen = await terminal.shows(
            "newest first · this proxy has no feed: asked every 2 s · not all replicas answer"
        )
        assert ids(screen) == ["> task-2", "task-1", "task-0"]
        assert table(screen)[0].split()[2:5] == ["58s", "streaming", "2"]
        terminal.press("ooo")
        await terminal.shows("by cost")
        terminal.press("ooooo")
        await terminal.shows("newest first")
        terminal.press("o")
        await eventually(lambda: ids(terminal.screen) == ["task-0", "task-1", "> task-2"], what="the oldest are first")


async def test_filter_and_order_are_asked_for(tmp_path: Path) -> None:
    """Named filters and the order go to the proxy, words are looked for here; a wrong filter is said to be wrong."""
    async with top_of(tmp_path, a_feed(page(row(1), row(2), row(3)))) as (terminal, fake):
        await terminal.shows("task-3")
        terminal.press("/older:10\r")
        await terminal.shows("a duration needs a unit")
        terminal.press("m user:acme/u-1 U2\r")
        await terminal.shows("filter older:10m user:acme/u-1 U2")
        assert ids(await terminal.shows("1 of 3 shown")) == ["> task-2"]
        terminal.press("oo")
        await terminal.shows("by tokens")
        wanted = "/api/feed?older_than=10m&user=acme%2Fu-1&sort=tokens&order=desc&limit=200"
        await eventually(lambda: wanted in [request.target for request in fake.requests], what="it is asked for")
        terminal.press("\x1b")
        await terminal.shows("task-3")


async def alive_until_closed(conn: Conn) -> None:
    """Send signs of life, as the feed does while there is nothing to tell."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await conn.sleep_until_closed()
                return
        await conn.chunk(b": keep-alive\n\n")


async def test_only_one_feed_is_held_open(tmp_path: Path) -> None:
    """What is no longer asked for is left at once, although its feed says nothing: others shall find room."""
    is_open: list[Conn] = []

    async def feed(conn: Conn) -> None:
        is_open.append(conn)
        await conn.head(200, SSE)
        await conn.chunk(page(row(1)))
        await alive_until_closed(conn)
        is_open.remove(conn)

    live = json_answer({"object": "list", "data": [], "next_cursor": None})
    async with top_of(tmp_path, by_path({"/api/generations": live, "/api/feed": feed})) as (terminal, fake):
        await terminal.shows("task-1")
        for name in ("oldest first", "by tokens", "by cost"):
            terminal.press("o")
            await terminal.shows(name)
        await eventually(lambda: fake.requests[-1].target.startswith("/api/feed?sort=cost"), what="it is asked for")
        await eventually(lambda: len(is_open) == 1, what="the others are left")


async def test_pause_holds_the_picture(tmp_path: Path) -> None:
    """While it is paused the rows stay as they are; behind that the newest are shown."""
    change = event("change", total=2, matched=2, order=["m2", "m1"], rows=[row(2)], gone=[])
    goes_on = asyncio.Event()
    async with top_of(tmp_path, a_feed_in_steps(goes_on, page(row(1)), change)) as (terminal, _):
        await terminal.shows("task-1")
        terminal.press("p")
        await terminal.shows("PAUSED")
        goes_on.set()
        assert ids(await terminal.shows("2 live")) == ["> task-1"]
        terminal.press("p")
        assert ids(await terminal.shows("task-2")) == ["task-2", "> task-1"]


async def test_a_small_window(tmp_path: Path) -> None:
    """No line is wider than the window, whatever its size; what has no room is left out; a resize draws anew."""
    rows = [row(number, model="m" * 60, user="\u540d" * 30) for number in range(40)]
    async with top_of(tmp_path, a_feed(page(*rows)), columns=150, lines=30) as (terminal, _):
        screen = await terminal.shows("UPSTREAM")
        assert len(screen) == 30
        for columns, lines in ((40, 12), (20, 5), (90, 10)):
            terminal.resize(columns, lines)
            await terminal.has_lines(lines)
            screen = await terminal.shows("task-0")
            assert (len(screen), max(map(width_of, screen)) < columns) == (lines, True), screen
        terminal.press("G")
        await terminal.shows("> task-39")
        terminal.press("g")
        await terminal.shows("> task-0")


async def test_a_stranger_can_not_steer_the_terminal(tmp_path: Path) -> None:
    """Control characters in names are shown as escapes."""
    async with top_of(tmp_path, a_feed(page(row(1, user="\x1b[2Jx", model="a\r\nb")))) as (terminal, _):
        screen = await terminal.shows("task-1")
        assert "\\x1b[2Jx" in table(screen)[0]
        assert "a\\r\\nb" in table(screen)[0]
        assert "\x1b[2Jx" not in terminal.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
async def test_a_signal_gives_the_terminal_back(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Whatever ends it, the terminal is as it was before."""
    async with top_of(tmp_path, a_feed(page(row(1)))) as (terminal, _):
        await terminal.shows("task-1")
        assert not terminal.is_as_before
        terminal.signal(number)
        assert await terminal.exit_code() == code
        await terminal.is_given_back()


async def test_ctrl_z_and_back(tmp_path: Path) -> None:
    """Ctrl-Z gives the terminal back to the shell; when the program goes on, it draws anew and hears keys."""
    async with top_of(tmp_path, a_feed(page(row(1)))) as (terminal, _):
        await terminal.shows("task-1")
        terminal.press("\x1a")
        await terminal.is_stopped()
        await terminal.is_given_back()
        terminal.signal(signal.SIGCONT)
        await eventually(lambda: not terminal.is_as_before and terminal.has_single_keys, what="it is back")
        terminal.press("q")
        assert await terminal.exit_code() == 0
        await terminal.is_given_back()


async def test_a_proxy_that_goes_away(tmp_path: Path) -> None:
    """What was known stays on the screen and is said not to be up to date, until the proxy is there again."""
    first = sse_stream([page(row(1))], then="fin")
    script = by_path(
        {
            "/api/generations": json_answer({"object": "list", "data": [], "next_cursor": None}),
            "/api/feed": in_turn(first, events_then_hang([page(row(2))])),
        },
    )
    async with top_of(tmp_path, script) as (terminal, _):
        await terminal.shows("NOT UP TO DATE")
        assert any("task-1" in line for line in terminal.screen)
        await terminal.shows("task-2")
        await terminal.hides("NOT UP TO DATE")


async def test_a_refusal_is_told_on_a_plain_screen(tmp_path: Path) -> None:
    """A wrong token ends it with exit code 5, before the screen is taken."""
    refused = json_answer({"error": {"code": "invalid_admin_token", "message": "x"}}, 401)
    async with top_of(tmp_path, by_path({"/api/generations": refused})) as (terminal, _):
        assert await terminal.exit_code() == 5
        assert "does not take the admin token" in terminal.output
        await terminal.is_given_back()


async def test_a_stop_that_is_refused(tmp_path: Path) -> None:
    """Who may only look is told so when a stop is tried, and goes on looking."""
    script = events_then_hang(chat_events(5, finish=None, done=False))
    tokens = [{"name": "looks", "role": "viewer", "token": "v" * 32}]
    async with scripted_upstream(script) as up:
        async with running_proxy(config_text(up.base_url, admin={"tokens": tokens}), tmp_path) as proxy:
            async with streams(proxy, "one"), top_at(proxy.admin_url, tmp_path, token="v" * 32) as terminal:
                await terminal.shows("> one")
                terminal.press("s\r")
                screen = await terminal.shows("one (scripted, user-one): ")
                assert "role" in screen[-1]
                assert up.connections == 1
                terminal.press("q")
                assert await terminal.exit_code() == 0


async def test_without_a_terminal(tmp_path: Path) -> None:
    """Elsewhere than on a terminal the table comes once, and what repeats it is said; JSON comes alone."""
    script = events_then_hang(chat_events(5, finish=None, done=False))
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        async with streams(proxy, "one"):
            env = environment(QUELL_ADMIN=proxy.admin_url, QUELL_ADMIN_TOKEN=ADMIN_TOKEN)

            async def told(*more: str) -> subprocess.CompletedProcess[str]:
                return await run_plainly([sys.executable, *TOP, *more], env, tmp_path)

            plain = await told()
            assert plain.stdout.splitlines()[1].split()[0] == "one"
            assert "ps --watch` repeats it" in plain.stderr
            shown = await told("-o", "json")
            assert (json.loads(shown.stdout)[0]["task_id"], shown.stderr) == ("one", "")


# What needs no terminal.


@pytest.mark.parametrize(
    ("pieces", "keys"),
    [
        ([b"j\r\x7f"], ["j", Key.ENTER, Key.BACKSPACE]),
        ([b"\x1b[A\x1b[B\x1bOA"], [Key.UP, Key.DOWN, Key.UP]),
        ([b"\x1b", b"[A"], [Key.UP]),
        ([b"\x1b[", b"6~x"], [Key.PAGE_DOWN, "x"]),
        ([b"\xc3", b"\xa4"], ["\u00e4"]),
        ([b"\x1b[200~a\x1b[201~"], ["a"]),
        ([b"\x01\x02"], []),
    ],
)
def test_keys_come_whole(pieces: list[bytes], keys: list[str]) -> None:
    """A key is known however its bytes are cut; what is no key of ours is nothing."""
    reader = KeyReader()
    assert [key for piece in pieces for key in reader.take(piece)] == keys
    assert not reader.is_waiting


def test_escape_is_what_nothing_follows() -> None:
    """An escape character alone is the Escape key once nothing has followed."""
    reader = KeyReader()
    assert reader.take(b"\x1b") == []
    assert reader.is_waiting
    assert reader.nothing_more() == [Key.ESCAPE]
    assert not reader.is_waiting


def test_an_age_goes_on() -> None:
    """Between two pages the ages go on by our own clock."""
    now = [100.0]
    view = View(clock=lambda: now[0])
    view.take_page({"rows": [row(1, age_seconds=59.0)], "total": 1, "matched": 1})
    now[0] = 102.0
    assert laid_out(list(view.rows.values()), now[0], 200)[1].split()[1] == "1m01s"


def test_the_room_of_columns_that_went_is_the_ids() -> None:
    """Where a column had no room, what is left goes to the id, which is shown whole where that fits."""
    known = [Known(row(1, task_id="conversation-with-a-long-id-4711", model="m" * 28, user="u" * 20), 0.0)]
    assert "conversation-with-a-long-id-4711" in laid_out(known, 0.0, 66)[1]
    assert all(width_of(line) <= width for width in range(10, 120) for line in laid_out(known, 0.0, width))


def test_rate_and_unknown_numbers() -> None:
    """The rate counts from the first token on; characters stand where tokens are not known."""
    known = [Known(row(1), 0.0), Known(row(2, completion_tokens=None, cost=None), 0.0)]
    first, second = (line.split() for line in laid_out(known, 0.0, 200)[1:])
    assert first[3:7] == ["100", "10/s", "0.000700", "USD"]
    assert second[3:7] == ["400", "ch", "-", "-"]


@pytest.mark.parametrize(
    ("text", "part"),
    [("older:", "needs a value"), ("tag:a", "tag:team:search"), ("user:a user:b", "twice"), ("older:3", "unit")],
)
def test_a_filter_that_is_wrong(text: str, part: str) -> None:
    """What can't be asked for is said, with what to type."""
    assert part in Asked(text).wrong()


def test_a_list_is_sorted_here() -> None:
    """Where there is no feed each order is made here, what is unknown last."""
    rows = [row(1, completion_tokens=None, cost=None), row(2, completion_tokens=5, cost="10"), row(3, cost="9")]
    by_tokens = next(order for order in ORDERS if order.name == "by tokens")
    by_cost = next(order for order in ORDERS if order.name == "by cost")
    assert [each["id"] for each in Asked("", by_tokens).sorted(rows)] == ["m3", "m2", "m1"]
    assert [each["id"] for each in Asked("", by_cost).sorted(rows)] == ["m2", "m3", "m1"]


async def run_plainly(arguments: list[str], env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program without a terminal, to its end."""
    return await asyncio.to_thread(
        subprocess.run, arguments, cwd=folder, env=env, capture_output=True, text=True, check=False
    )

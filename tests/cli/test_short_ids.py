"""Short ids for people: what the first characters of an id mean to the commands."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.admin_client import Exit
from proxy.cli.stop import stop
from proxy.cli.tail import tail
from support.command import run
from support.scripts import json_answer
from support.upstream import Conn, Script, scripted_upstream

FIRST = "9f3c1a2b-0000-4000-8000-000000000001"
SECOND = "9f3c1a2b-0000-4000-8000-000000000002"
OTHER = "77aa0000-0000-4000-8000-000000000003"


def record(message_id: str, task_id: str | None = None, **facts: Any) -> dict[str, Any]:
    """A record of a list."""
    return {"message_id": message_id, "task_id": task_id or message_id, "outcome": "running", **facts}


def listener(live: list[dict[str, Any]], ended: list[dict[str, Any]] | None = None, *, complete: bool = True) -> Script:
    """An admin listener that knows these, by their whole message ids; not `complete`: a replica does not answer it."""
    known = {each["message_id"]: each for each in [*live, *(ended or [])]}

    async def script(conn: Conn) -> None:
        path, _, query = conn.request.target.partition("?")
        any_id = path.removeprefix("/api/generations/").removesuffix("/cancel")
        if path == "/api/generations":
            data = live if "state=live" in query else ended or []
            await json_answer({"data": data, "next_cursor": None, "complete": complete})(conn)
        elif any_id not in known:
            error = {"code": "generation_not_found", "message": "No generation has this id."}
            await json_answer({"error": error}, 404)(conn)
        else:
            result = "stopped" if known[any_id]["outcome"] == "running" else "already_finished"
            told = {"result": result, "status": "completed", "upstream_closed_ms": 1.0}
            shown = {"usage": {"completion_tokens": 1}, "partial": {"characters": 1}, "text": "kept", "cause": None}
            numbers = {"characters": 4, "completion_tokens": 1}
            await json_answer({**known[any_id], **told, **shown, **numbers})(conn)

    return script


async def stopped(script: Script, *typed: str) -> tuple[int, str, str]:
    """Exit code and output of a stop."""
    async with scripted_upstream(script) as fake:
        done = await run(stop, *typed, url=fake.origin)
        return done.exit_code, done.stdout, done.stderr


async def test_the_begin_of_an_id_is_enough() -> None:
    """A few first characters mean the only one that begins with them, of what runs before what is over."""
    script = listener([record(FIRST), record(OTHER)], [record(SECOND, outcome="completed")])
    assert (await stopped(script, "9f3c"))[:2] == (0, f"stopped {FIRST} in 1.0 ms · 1 tokens kept · upstream closed\n")
    assert (await stopped(script, "9f3c1a2b…"))[0] == 0, "as a narrow terminal shows it"
    over = await stopped(script, SECOND[:-1] + "2")
    assert over[0] == Exit.ALREADY_FINISHED
    only_over = listener([record(OTHER)], [record(SECOND, outcome="completed")])
    assert (await stopped(only_over, "9f3c"))[0] == Exit.ALREADY_FINISHED


async def test_several_that_begin_alike() -> None:
    """When several are meant, they are named, nothing is stopped, and the exit code is 3."""
    code, out, told = await stopped(listener([record(FIRST), record(SECOND)]), "9f3c1a")
    assert (code, out) == (Exit.NOT_FOUND, "")
    assert told.splitlines() == [
        "9f3c1a: several ids begin with 9f3c1a; type more of the one that is meant:",
        f"  {FIRST}",
        f"  {SECOND}",
    ]


async def test_nothing_is_guessed_while_a_replica_is_silent() -> None:
    """The only one that is known to begin so may not be the one that is meant: a whole id is asked for, and taken."""
    script = listener([record(FIRST)], complete=False)
    code, out, told = await stopped(script, "9f3c")
    assert (code, out) == (Exit.FAILED, "")
    assert "type the whole id" in told
    assert (await stopped(script, FIRST))[0] == Exit.DONE


@pytest.mark.parametrize("typed", ["chat-4", "9f3", "9f3c1b", "", "9f3c/"])
async def test_what_means_nothing(typed: str) -> None:
    """An id that a caller chose is never completed, nor one of three characters: `chat-4` is not `chat-42`."""
    code, out, _ = await stopped(listener([record(FIRST), record(OTHER, "chat-42")]), typed)
    assert (code, out) == (Exit.NOT_FOUND, "")


async def test_a_chosen_message_id_is_not_completed() -> None:
    """Where callers choose message ids too these are typed whole; those in a dialect's own form are completed."""
    chosen = record("chat-42", OTHER, dialect="async_messages")
    code, out, _ = await stopped(listener([chosen]), "chat-4")
    assert (code, out) == (Exit.NOT_FOUND, "")
    code, out, _ = await stopped(listener([record("resp_1a2b3c", OTHER, dialect="openai")]), "resp_1a")
    assert (code, out.split()[1]) == (Exit.DONE, OTHER)


async def test_a_chosen_id_has_a_made_one_beside_it() -> None:
    """What a caller named is reached by the begin of its message id."""
    code, out, _ = await stopped(listener([record(OTHER, "chat-42")]), "77aa")
    assert (code, out.split()[1]) == (0, "chat-42")


async def test_tail_takes_short_ids(tmp_path: Path) -> None:
    """`tail` completes an id in the same way."""
    ended = record(FIRST, outcome="completed")
    async with scripted_upstream(listener([], [ended])) as fake:
        shown = await run(tail, "9f3c", url=fake.origin)
    assert (shown.exit_code, shown.stdout) == (0, "kept\n")


async def test_what_is_left_of_a_cut_id_is_no_id() -> None:
    """`conversation…` is what a narrow table shows of an id; somebody else's `conversation` is not stopped for it."""
    code, out, _ = await stopped(listener([record("conversation", OTHER, dialect="async_messages")]), "conversation…")
    assert (code, out) == (Exit.NOT_FOUND, "")


async def test_whole_ids_cost_one_call() -> None:
    """A whole id is not looked up: a script's stop is one call."""
    async with scripted_upstream(listener([record(FIRST)])) as fake:
        done = await run(stop, FIRST, "-o", "json", url=fake.origin)
        assert json.loads(done.stdout)[0]["task_id"] == FIRST
        assert len(fake.requests) == 1

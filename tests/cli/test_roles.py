"""The commands with a token that may not do everything: what is refused, in which words, with which exit code."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click import Command
from click.testing import CliRunner

from proxy.cli.admin_client import Exit
from proxy.cli.ps import ps
from proxy.cli.stop import stop
from proxy.cli.tail import tail
from proxy.cli.usage import usage
from support.admin import PEOPLE, call, secret_of, token_of
from support.chat import ask, chat_events, text
from support.client import RawClient
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang
from support.upstream import scripted_upstream


@asynccontextmanager
async def a_stream(folder: Path) -> AsyncIterator[RunningProxy]:
    """A proxy with tokens of every kind, on which the stream `t-1` has said five words and goes on."""
    script = events_then_hang(chat_events(5, finish=None, done=False))
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, admin={"tokens": PEOPLE}), folder) as proxy,
        RawClient(proxy.port) as client,
    ):
        await client.post("/v1/chat/completions", ask(), [("X-Task-Id", "t-1")])
        await client.until(b"data: ", 6)
        yield proxy


async def run(command: Command, *arguments: str, proxy: RunningProxy, who: str) -> tuple[int, str]:
    """Run a command in a thread with somebody's token; gives its exit code and all that it said."""
    env = {"QUELL_ADMIN": proxy.admin_url, "QUELL_ADMIN_TOKEN": secret_of(who), "NO_COLOR": "1"}
    done = await asyncio.to_thread(CliRunner().invoke, command, arguments, env=env)
    return done.exit_code, done.output


@pytest.mark.parametrize("arguments", [("t-1",), ("--all", "--yes"), ("--last",)])
async def test_a_viewer_can_not_stop(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """It is refused with exit code 5, and the message names the role that is needed and the one that the token has."""
    async with a_stream(tmp_path) as proxy:
        code, said = await run(stop, *arguments, proxy=proxy, who="vera")
        assert code == Exit.NOT_ALLOWED
        assert "needs the role operator. The token vera has the role viewer" in said
        assert len(list(proxy.app.engine.registry)) == 1


async def test_an_operator_stops_without_seeing_the_text(tmp_path: Path) -> None:
    """The stop works and says how much there was; the text stays hidden."""
    async with a_stream(tmp_path) as proxy:
        code, said = await run(stop, "t-1", proxy=proxy, who="otto")
        assert (code, "stopped" in said) == (Exit.DONE, True)
        assert text(5).strip() not in said
        record = await call(proxy.admin_port, "GET", "/api/generations/t-1", headers=token_of("vera"))
        assert record.json()["cancelled_by"] == "otto"


@pytest.mark.parametrize("who", ["vera", "otto", "ada"])
async def test_the_text_is_not_shown_without_the_right(tmp_path: Path, who: str) -> None:
    """`quell tail` says what is missing instead of showing an empty text."""
    async with a_stream(tmp_path) as proxy:
        code, said = await run(tail, "t-1", proxy=proxy, who=who)
        assert code == Exit.NOT_ALLOWED
        assert "may not see what models wrote" in said
        assert text(5).strip() not in said


async def test_a_viewer_looks_at_the_rest(tmp_path: Path) -> None:
    """What runs and what was used is for every token."""
    async with a_stream(tmp_path) as proxy:
        for command in (ps, usage):
            code, _ = await run(command, proxy=proxy, who="vera")
            assert code == Exit.DONE

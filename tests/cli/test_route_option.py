"""`--route`, as people type it."""

from pathlib import Path

import click
import pytest

from proxy.cli.admin_client import Exit
from proxy.cli.ps import ps
from proxy.cli.route_option import route_path
from proxy.cli.stop import stop
from proxy.cli.top.asked import Asked
from proxy.cli.usage import usage
from support.chat import ask, chat_events
from support.client import RawClient
from support.command import run
from support.program import config_text
from support.proxy import running_proxy
from support.scripts import events_then_hang, json_answer
from support.upstream import scripted_upstream

HINT = "no route has the path /v2 now (did you mean '/v1'?)\n"


async def test_the_slash_before_a_route_may_be_left_out(tmp_path: Path) -> None:
    """`v1` means `/v1` to each command; where nothing is found and no route has the path, that is said."""
    script = events_then_hang(chat_events(5, finish=None, done=False))
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        async with RawClient(proxy.port) as client:
            await client.post("/v1/chat/completions", ask(), [("X-Task-Id", "one")])
            await client.until(b"data: ", 6)
            url = proxy.admin_url
            assert (await run(ps, "-q", "--route", "v1", url=url)).stdout == "one\n"
            assert "scripted" in (await run(usage, "--route", "v1/", url=url)).stdout
            for command, more, code in ((ps, (), 0), (usage, (), 0), (stop, ("--yes",), Exit.NOT_FOUND)):
                none = await run(command, "--route", "v2", *more, url=url)
                assert (none.exit_code, none.stderr[-len(HINT) :]) == (code, HINT)
            stopped = await run(stop, "--route", "v1", "--yes", url=url)
            assert (stopped.exit_code, stopped.stdout) == (Exit.DONE, "one\n")
            empty = await run(ps, "--route", "/v1", url=url)
    assert empty.stderr == "nothing runs that matches\n"


async def test_where_routes_are_not_told_nothing_is_said() -> None:
    """A proxy that does not say which routes there are is no reason for a command to fail."""
    async with scripted_upstream(json_answer({"data": [], "next_cursor": None})) as fake:
        done = await run(ps, "-q", "--route", "v2", url=fake.origin)
    assert (done.exit_code, done.stderr) == (Exit.DONE, "")


@pytest.mark.parametrize("text", ["", "//v1", "/v1/../x", "a b"])
def test_what_can_be_no_path_is_refused(text: str) -> None:
    """A word that no route could have, or none, is refused before anybody is asked."""
    with pytest.raises(ValueError, match="path"):
        route_path(text)


async def test_the_option_is_named() -> None:
    """A path that can be none is what was typed wrong: exit code 2, with the option's name."""
    done = await run(ps, "--route", "//v1", url="http://127.0.0.1:1")
    assert done.exit_code == click.UsageError.exit_code
    assert "--route" in done.stderr


def test_top_takes_it_the_same_way() -> None:
    """The filter of `top` asks the proxy for the path, and says what is wrong with one that can be none."""
    assert Asked("route:v1").query == {"route": "/v1"}
    assert "path" in Asked("route://v1").wrong()

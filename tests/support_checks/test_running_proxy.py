import signal
from pathlib import Path

import pytest

from support.chat import ask, chat_events
from support.client import RawClient
from support.leaks import back_to_start
from support.program import config_text, running_program
from support.proxy import running_proxy, settings_of
from support.scripts import sse_stream
from support.upstream import scripted_upstream

CHAT = "/v1/chat/completions"
EVENTS = chat_events(3, usage=True)


async def test_the_product_runs_in_this_process(tmp_path: Path) -> None:
    """A call goes through to the scripted upstream, and everything is closed again at the end."""
    async with back_to_start(), scripted_upstream(sse_stream(EVENTS)) as up:
        async with running_proxy(config_text(up.base_url), tmp_path) as proxy, RawClient(proxy.port) as client:
            await client.post(CHAT, ask(stream_options={"include_usage": True}))
            answer = await client.answer()
            assert (proxy.base_url, proxy.admin_url) == (
                f"http://127.0.0.1:{proxy.port}/v1",
                f"http://127.0.0.1:{proxy.admin_port}",
            )
        assert (answer.status, answer.body, answer.complete) == (200, b"".join(EVENTS), True)
        assert (tmp_path / "quell.db").exists()


async def test_the_product_runs_as_a_program(tmp_path: Path) -> None:
    """The same through a process of its own, which ends with 0 after SIGTERM."""
    async with (
        scripted_upstream(sse_stream(EVENTS)) as up,
        running_program(config_text(up.base_url), tmp_path) as program,
    ):
        async with RawClient(program.port) as client:
            await client.post(CHAT, ask(stream_options={"include_usage": True}))
            assert (await client.answer()).body == b"".join(EVENTS)
        async with RawClient(program.admin_port) as admin:
            await admin.get("/readyz", [("Host", f"127.0.0.1:{program.admin_port}")])
            assert (await admin.answer()).status == 200
        program.signal(signal.SIGTERM)
        assert await program.exit_code() == 0


def test_a_wrong_config_shows_its_problems(tmp_path: Path) -> None:
    """A test with a mistake in its config is told where."""
    with pytest.raises(AssertionError, match="slotz"):
        settings_of(config_text("http://127.0.0.1:1/v1", upstream={"slotz": 1}), tmp_path)

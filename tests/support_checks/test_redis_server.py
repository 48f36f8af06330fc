"""The Redis server of the tests."""

import shutil
from pathlib import Path

import pytest

from support.redis_server import redis_server, server_program


async def test_it_answers_and_forgets_at_a_restart(tmp_path: Path) -> None:
    """A started server takes commands, and is empty after a restart on the same port."""
    async with redis_server(tmp_path) as redis:
        port = redis.port
        redis.command("SET", "a", "1")
        assert redis.names() == [b"a"]
        await redis.restart()
        assert (redis.port, redis.names()) == (port, [])


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_server_never_goes_unnoticed(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server a test is skipped with the reason; where CI runs it fails."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="redis-server is installed"):
        server_program()

"""Several workers on one machine: one address, one way to stop, one drain; what dies is started again."""

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from proxy.stores.ledger.verify import verify_file
from support.chat import DONE
from support.client import Answer, RawClient
from support.held import SAID, Held
from support.program import ADMIN_TOKEN, Program, config_text
from support.proxy import running_proxy
from support.quell import quell
from support.redis_server import redis_server
from support.scripts import events_then_hang
from support.stops import CHAT, STREAM
from support.upstream import scripted_upstream
from support.wait import eventually
from support.workers import Workers, children, running_workers, workers_text

SLOW_DRAIN = {"ready_delay": "0s", "timeout": "30s"}
STREAMS = 16


async def streams(stack: AsyncExitStack, port: int, count: int = STREAMS) -> list[RawClient]:
    """Streams that have begun, each on a connection of its own; their ids are t-0, t-1 and so on."""
    clients = [await stack.enter_async_context(RawClient(port)) for _ in range(count)]
    for number, client in enumerate(clients):
        await client.post(CHAT, STREAM, [("X-Task-Id", f"t-{number}")])
    for client in clients:
        await client.until(b"data:", len(SAID))
    return clients


async def ask(port: int, method: str, path: str, token: str = ADMIN_TOKEN) -> Answer:
    """One call on a connection of its own."""
    async with RawClient(port) as client:
        headers = [("Authorization", f"Bearer {token}")] if path.startswith(("/api", "/readyz")) else []
        await (client.get(path, headers) if method == "GET" else client.post(path, b"", headers))
        return await client.answer()


def admin_ports(program: Program) -> list[int]:
    """Where the workers' admin listeners are, as the program says it."""
    return [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)/ui   worker", program.log())]


def owners(workers: Workers) -> dict[int, set[str]]:
    """What each worker runs, or ran."""
    return {number: {task for task, _ in workers.rows(number)} for number in (1, 2)}


async def test_a_stop_reaches_whichever_worker_runs_it(tmp_path: Path) -> None:
    """Workers share the port, and a stop on a new connection stops the one that is meant, whichever takes it in."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_workers(up.base_url, tmp_path) as workers,
        AsyncExitStack() as stack,
    ):
        port = workers.program.port
        clients = await streams(stack, port)
        assert all(owners(workers).values()), "both have some: the chance that one gets all is 1 in 32,768"
        for number, client in enumerate(clients):
            answer = (await ask(port, "POST", f"/v1/generations/t-{number}/cancel")).json()
            assert (answer["result"], answer["task_id"]) == ("stopped", f"t-{number}")
            assert (await client.answer()).events[-1] == DONE
        await up.no_connections()
        workers.program.signal(signal.SIGTERM)
        assert await workers.program.exit_code() == 0
        assert {outcome for number in (1, 2) for _, outcome in workers.rows(number)} == {"cancelled"}
        for number in (1, 2):
            assert verify_file(tmp_path / f"quell-{number}.db").findings == []


async def test_a_worker_that_died_is_started_again(tmp_path: Path) -> None:
    """After SIGKILL of a worker its generations are interrupted once, the other's go on, and new work is served."""
    script = Held()
    async with (
        scripted_upstream(script) as up,
        running_workers(up.base_url, tmp_path) as workers,
        AsyncExitStack() as stack,
    ):
        program = workers.program
        clients = await streams(stack, program.port)
        ran = owners(workers)
        victim = workers.pids()[1]
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: '"worker.up"' in program.log(), what="a worker is started again")
        assert '"code":-9' in program.log()
        assert {task for task, outcome in workers.rows(2) if outcome == "interrupted"} == ran[2]
        script.let_go.set()
        for number, client in enumerate(clients):
            if f"t-{number}" in ran[1]:
                assert (await client.answer()).events[-1] == DONE
        for admin in admin_ports(program)[:1]:
            assert (await ask(admin, "GET", "/readyz")).status == 200
        later = await asyncio.gather(*(say(program.port, f"later-{number}") for number in range(STREAMS)))
        assert all(answer.events[-1] == DONE for answer in later)
        assert all(any(task.startswith("later") for task, _ in workers.rows(number)) for number in (1, 2))
        assert sum(task in ran[2] for number in (1, 2) for task, _ in workers.rows(number)) == len(ran[2])


async def test_a_worker_that_dies_again_waits_longer(tmp_path: Path) -> None:
    """The pause before a start doubles with each death in a row; SIGTERM meanwhile ends the program, exit code 0."""
    async with running_workers("http://127.0.0.1:9/v1", tmp_path) as workers:
        program = workers.program
        for deaths, pause in ((1, 0.5), (2, 1.0), (3, 2.0)):
            os.kill(workers.pids()[-1], signal.SIGKILL)
            await said(program, f'"again_in":{pause}')
            if deaths < 3:
                await said(program, '"worker.up"', deaths)
        program.signal(signal.SIGTERM)
        assert await program.exit_code() == 0
        assert program.log().count('"worker.died"') == 3


async def said(program: Program, words: str, times: int = 1) -> None:
    """Wait until the program has said something so often."""
    await eventually(lambda: program.log().count(words) == times, what=f"{words} is said {times} times")


async def test_files_that_no_worker_opens_are_named(tmp_path: Path) -> None:
    """What was written with another number of workers lies in files that are left alone, and the log says which."""
    for name in ("quell.db", "quell-3.db", "other-4.db"):
        (tmp_path / name).touch()
    async with running_workers("http://127.0.0.1:9/v1", tmp_path) as workers:
        assert '"ledger.left_alone"' in workers.program.log()
        assert "quell.db" in workers.program.log()
        assert "quell-3.db" in workers.program.log()
        assert "other-4.db" not in workers.program.log()
    (tmp_path / "quell.db").unlink()
    done = quell("ledger", "verify", "--config", "quell.yaml", folder=tmp_path)
    assert done.returncode == 3
    assert "each worker has a ledger: name one of quell-1.db, quell-2.db" in done.stderr


async def say(port: int, task_id: str) -> Answer:
    """A whole stream."""
    async with RawClient(port) as client:
        await client.post(CHAT, STREAM, [("X-Task-Id", task_id)])
        return await client.answer()


async def test_one_signal_drains_all_of_them(tmp_path: Path) -> None:
    """SIGTERM to every process at once, as service managers send it, lets the streams of all workers end; exit 0."""
    script = Held()
    async with (
        scripted_upstream(script) as up,
        running_workers(up.base_url, tmp_path, drain=SLOW_DRAIN) as workers,
        AsyncExitStack() as stack,
    ):
        program = workers.program
        clients = await streams(stack, program.port)
        for pid in (*workers.pids(), program.pid):
            os.kill(pid, signal.SIGTERM)
        await eventually(lambda: program.log().count('"drain.begun"') == 2, what="both drain")
        assert [(await ask(port, "GET", "/readyz")).status for port in admin_ports(program)] == [503, 503]
        script.let_go.set()
        assert all([(await client.answer()).events[-1] == DONE for client in clients])
        assert await program.exit_code() == 0
        assert {outcome for number in (1, 2) for _, outcome in workers.rows(number)} == {"completed"}


async def test_a_second_signal_ends_all_of_them_at_once(tmp_path: Path) -> None:
    """A second SIGINT ends the drain of every worker, with their partials kept."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_workers(up.base_url, tmp_path, drain=SLOW_DRAIN) as workers,
        AsyncExitStack() as stack,
    ):
        clients = await streams(stack, workers.program.port)
        workers.program.signal(signal.SIGINT)
        await eventually(lambda: workers.program.log().count('"drain.begun"') == 2, what="both drain")
        workers.program.signal(signal.SIGINT)
        assert all([b"cause=shutdown" in (await client.answer()).body for client in clients])
        assert await workers.program.exit_code() == 0


async def test_no_worker_outlives_its_parent(tmp_path: Path) -> None:
    """When the parent is killed, its workers say so, drain and end."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_workers(up.base_url, tmp_path, drain={"timeout": "100ms"}) as workers,
        AsyncExitStack() as stack,
    ):
        clients = await streams(stack, workers.program.port)
        pids = workers.pids()
        workers.program.kill()
        assert all([b"cause=shutdown" in (await client.answer()).body for client in clients])
        await eventually(lambda: not any(is_alive(pid) for pid in pids), what="no worker is left")
        assert workers.program.log().count("worker.parent_gone") == len(pids)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_a_reload_is_taken_by_all_or_by_none(tmp_path: Path) -> None:
    """A bad file changes no worker; a good one, also if one worker's operator asks for it, changes all of them."""
    async with running_workers("http://127.0.0.1:9/v1", tmp_path) as workers:
        program, file = workers.program, tmp_path / "quell.yaml"
        good = file.read_text()
        file.write_text(good + "nonsense: 1\n")
        program.signal(signal.SIGHUP)
        await eventually(lambda: "the new settings are not taken" in program.log(), what="the bad file is refused")
        assert "config.re" not in program.log(), "no worker was told"
        file.write_text(good)
        program.signal(signal.SIGHUP)
        await eventually(lambda: program.log().count('"config.reloaded"') == 2, what="both took it")
        assert (await ask(admin_ports(program)[1], "POST", "/api/reload")).status == 200
        await eventually(lambda: program.log().count('"config.reloaded"') == 4, what="both took it")
        assert '"needs_restart":["' not in program.log()


async def test_a_worker_that_cannot_start_ends_the_program(tmp_path: Path) -> None:
    """At the start one worker that fails is a failed start: it says why, no process is left, exit code 1."""
    (tmp_path / "quell-2.db").write_text("no database, and long enough to be taken for one" * 100)
    async with redis_server(tmp_path) as redis:
        (tmp_path / "quell.yaml").write_text(workers_text("http://127.0.0.1:9/v1", redis.url))
        done = await asyncio.to_thread(quell, "serve", "--config", "quell.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert "quell-2.db" in done.stderr
    assert '"worker.not_started"' in done.stdout
    assert "proxy  " not in done.stderr, "nothing was said to be served"


def test_workers_without_a_bus_are_refused(tmp_path: Path) -> None:
    """Without a bus a stop could not reach the right worker: neither the check nor the start takes that."""
    (tmp_path / "quell.yaml").write_text(config_text("http://127.0.0.1:9/v1", workers=2))
    for command in (("check", "quell.yaml"), ("serve", "--config", "quell.yaml")):
        done = quell(*command, folder=tmp_path)
        assert done.returncode == 1
        assert "workers: more than one worker needs a bus" in done.stdout + done.stderr


async def test_an_address_in_use_is_not_shared_with_strangers(tmp_path: Path) -> None:
    """Workers share their port with each other, not with who listens there already, be it willing to share."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        text = workers_text("http://127.0.0.1:9/v1", "redis://127.0.0.1:9", listen=listen)
        (tmp_path / "quell.yaml").write_text(text)
        done = await asyncio.to_thread(quell, "serve", "--config", "quell.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert f"can't listen on {listen} (address already in use)" in done.stderr


async def test_each_worker_has_an_admin_port_and_all_have_one_token(tmp_path: Path) -> None:
    """Worker k is asked at the admin port plus k - 1, with the token beside the ledger that the file names."""
    first = consecutive_ports()
    admin = {"listen": f"127.0.0.1:{first}", "token": None}
    async with running_workers("http://127.0.0.1:9/v1", tmp_path, admin=admin) as workers:
        assert admin_ports(workers.program) == [first, first + 1]
        token = (tmp_path / "quell.db.admin_token").read_text().strip()
        for port in (first, first + 1):
            checks = (await ask(port, "GET", "/readyz?verbose")).json()["checks"]
            assert checks["workers"] is True
            assert (await ask(port, "GET", "/api/generations", token)).status == 200


def consecutive_ports() -> int:
    """A port that is free, as is the next one, among those that no connection gets by itself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as one, socket.socket() as two, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 1))
            return port


class Alone:
    """Workers of whom some have not come up."""

    def have_all_come_up(self) -> bool:
        """Not yet."""
        return False

    def has_reloaded(self) -> None:
        """Nobody wants to know."""


async def test_a_worker_is_not_ready_before_all_are(tmp_path: Path) -> None:
    """While another worker has not come up, a worker that serves says that it is not ready, and why."""
    text = config_text("http://127.0.0.1:9/v1")
    async with running_proxy(text, tmp_path, among=Alone()) as proxy:
        answer = await ask(proxy.admin_port, "GET", "/readyz?verbose")
    assert answer.status == 503
    assert [name for name, passes in answer.json()["checks"].items() if not passes] == ["workers"]


async def test_the_parent_serves_nothing_and_has_one_thread(tmp_path: Path) -> None:
    """A worker is forked from a process with a single thread, so that it can hold no lock of another one."""
    async with running_workers("http://127.0.0.1:9/v1", tmp_path) as workers:
        pid = workers.program.pid
        assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
        assert len(children(pid)) == 2

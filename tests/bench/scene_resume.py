"""Coming back to a response that is being made: how long it takes to be read on from an exact event of many."""

import asyncio
import json
import re
from typing import Final

from bench import client
from bench.contestants import QUELL, Contestant
from bench.scene import Bench
from bench.scene_stops import EVER, p99, shown
from bench.script import Script
from bench.table import Row, Target

EVENTS: Final = 5000
NUMBER: Final = re.compile(rb'"sequence_number":(\d+)')
TASK: Final = "resume-0"
EVERY: Final = 0.0005
LOOK: Final = 0.001
READ_ON: Final = Target(20, 5)


async def run(bench: Bench) -> None:
    """A row: seconds from asking for a stream behind event n to the event after it, for n all over the stream."""
    with bench.arena.running(QUELL) as proxy:
        response_id = await _made(proxy)
        number = bench.size(500, 100)
        times = [await _read_on(proxy, response_id, index * (EVENTS - 10) // number) for index in range(number)]
        await client.fetch(proxy.port, f"/responses/responses/{response_id}/cancel", "POST")
    figure = f"read on from event n of a live response of {EVENTS} events, asked to first event, p50 / p99"
    bench.table.rows.append(
        Row(figure, {QUELL: shown(times, number)}, "20 ms", "5 ms", READ_ON.met(p99(times, number)))
    )


async def _made(proxy: Contestant) -> str:
    """A response in the background that has said so many events, and goes on."""
    script = Script(events=EVER, every=EVERY, ident=TASK)
    body = {"model": "bench-model", "input": script.words(), "stream": True, "background": True}
    connection = await client.connect(proxy.port)
    connection.send(client.request(json.dumps(body).encode(), "/responses/responses", headers={"X-Task-Id": TASK}))
    async with asyncio.timeout(client.PATIENCE):
        while connection.events < EVENTS:  # noqa: ASYNC110 the protocol counts, and announces nothing
            await asyncio.sleep(LOOK)
    connection.close()
    told = json.loads(await client.fetch(proxy.port, f"/responses/generations/{TASK}"))
    return str(told["message_id"])


async def _read_on(proxy: Contestant, response_id: str, after: int) -> float:
    """Seconds until the event behind that one is there."""
    connection = await client.connect(proxy.port, keep=True)
    path = f"/responses/responses/{response_id}?stream=true&starting_after={after}"
    asked = connection.send(client.request(b"", path, "GET"))
    try:
        async with asyncio.timeout(client.PATIENCE):
            while not connection.first_event:  # noqa: ASYNC110 the same
                await asyncio.sleep(LOOK)
        found = NUMBER.search(connection.body())
        if found is None or int(found[1]) != after + 1:
            raise RuntimeError(f"asked for what comes behind event {after}, and got something else")
        return connection.first_event - asked
    finally:
        connection.close()

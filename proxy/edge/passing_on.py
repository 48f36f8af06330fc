"""Looking at what another replica runs: asked of its owner, and what that says passed on as it comes."""

from collections.abc import Iterable

from aiohttp import web

from proxy.core.headers import HeaderPair
from proxy.edge import downstream
from proxy.engine.replicas.observing import Observing
from proxy.engine.replicas.reading import Reading


async def pass_on(
    request: web.BaseRequest, reading: Reading, observing: Observing, headers: Iterable[HeaderPair], deadline: float
) -> web.StreamResponse:
    """Send a stream of another replica's to its observer, to the end.

    Args:
        request: the observer's.
        reading: the stream; it is closed here.
        observing: where it comes from.
        headers: go before those of the stream.
        deadline: seconds in which the observer must take bytes.

    Raises:
        ConnectionError: the observer left, or the stream broke off: at its owner, or with it.
    """
    try:
        response, sink = await downstream.begin(request, 200, [*headers, *reading.headers], None)
        while data := await reading.read():
            if not sink.write(data):
                await sink.drained(deadline)
        if reading.is_broken:
            downstream.break_off()
        return response
    finally:
        observing.close_reading(reading)

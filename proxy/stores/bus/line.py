"""One connection to the bus for everybody: what is asked while it is busy goes together as the next pipeline.

So a thousand stops at once need one connection, and a call costs little more than its bytes.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from proxy.stores.bus.connect import ANSWER_SECONDS, Client, reason
from proxy.stores.bus.port import BusUnavailableError

AT_ONCE: Final = 200
"""So many commands go in one pipeline."""
NOTE_SECONDS: Final = 0.002
WAITING_MOST: Final = 20_000
"""So many commands may wait; one more is refused."""

Words = tuple[str | bytes | int, ...]


@dataclass(slots=True)
class _Call:
    words: Words
    done: "asyncio.Future[Any]"


class Line:
    """Runs commands in the order in which they are asked for. `on_failure` is told what broke a pipeline."""

    def __init__(self, client: Client, on_failure: Callable[[Exception], None]) -> None:
        self._client = client
        self._on_failure = on_failure
        self._waiting: deque[_Call] = deque()
        self._awake = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None

    def call(self, *words: str | bytes | int) -> "asyncio.Future[Any]":
        """What the server says to a command.

        Raises:
            BusUnavailableError: in the future, the server could not be asked, or refused.
        """
        done = self._put(words)
        self._awake.set()
        return done

    def eval(self, script: str, keys: list[str], *words: str | bytes | int) -> "asyncio.Future[Any]":
        """What a script says, see `call`."""
        return self.call("EVAL", script, len(keys), *keys, *words)

    def note(self, script: str, keys: list[str], *words: str | bytes | int) -> "asyncio.Future[Any]":
        """What a script says for which nobody waits, see `later`."""
        return self.later("EVAL", script, len(keys), *keys, *words)

    def later(self, *words: str | bytes | int) -> "asyncio.Future[Any]":
        """The same as `call` for what nobody waits for: it goes with what comes meanwhile, which is cheaper."""
        done = self._put(words)
        if self._waking is None and not self._awake.is_set():
            self._waking = asyncio.get_running_loop().call_later(NOTE_SECONDS, self._awake.set)
        return done

    def _put(self, words: Words) -> "asyncio.Future[Any]":
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= WAITING_MOST:
            done.set_exception(BusUnavailableError("as many commands wait as may"))
            done.exception()  # seen, if nobody asks
            return done
        self._waiting.append(_Call(words, done))
        return done

    async def run(self) -> None:
        """Work for ever."""
        while True:
            await self._awake.wait()
            if self._waking is not None:
                self._waking.cancel()
                self._waking = None
            calls = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            if not self._waiting:
                self._awake.clear()
            try:
                await self._ask([call for call in calls if not call.done.cancelled()])
            finally:
                _fail(calls, "the bus is closed")

    async def _ask(self, calls: list[_Call]) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._client.pipeline(transaction=False) as pipeline:
                for call in calls:
                    pipeline.execute_command(*call.words)
                answers = await pipeline.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 whatever a client raises, the next command has its chance
            _fail(calls, reason(error))
            self._on_failure(error)
            return
        refused: Exception | None = None
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Exception):
                # somebody's garbage under one of our keys is no reason to give up the others
                refused = refused if "WRONGTYPE" in str(answer) else answer
                _fail([call], reason(answer))
            elif not call.done.done():
                call.done.set_result(answer)
        if refused is not None:
            self._on_failure(refused)


def _fail(calls: list[_Call], why: str) -> None:
    for call in calls:
        if not call.done.done():
            call.done.set_exception(BusUnavailableError(why))
            call.done.exception()  # seen, if nobody asks

"""The numbers that replicas share, on Redis or Valkey. Needs the extra `distributed`."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from os import urandom
from typing import Any, Final, TypeVar

from proxy.core.bus_address import BusAddress
from proxy.core.use import Window
from proxy.stores import shared_scripts as scripts
from proxy.stores.bus import BusUnavailableError
from proxy.stores.bus_connect import connect, let_go
from proxy.stores.bus_line import Line
from proxy.stores.bus_names import Keys, Names
from proxy.stores.shared import Asked, Taken, Told

T = TypeVar("T")

MARK_SECONDS: Final = 86_400.0
_PROCESS_BYTES: Final = 8


class RedisNumbers:
    """See `SharedNumbers`. It has a line of its own, so that no stop waits behind a thousand sums."""

    def __init__(self, address: BusAddress, secret: bytes, lease: float) -> None:
        """Made of the settings; `lease` is in seconds."""
        self._client = connect(address)
        self._names = Names(secret)
        self._line = Line(self._client, lambda _error: None)  # whoever asked is told
        self._lease = _ms(lease)
        self._process = urandom(_PROCESS_BYTES).hex()
        self._working: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin, see `SharedNumbers`."""
        self._working = asyncio.get_running_loop().create_task(self._line.run(), name="the shared numbers' line")

    def mark(self) -> "asyncio.Future[str]":
        """The mark, see `SharedNumbers`."""
        new = urandom(_PROCESS_BYTES).hex()
        return _then(self._line.eval(scripts.MARK, [self._names.mark], new, _ms(MARK_SECONDS)), _text)

    def take(self, identity: str, number: int, most: int, known: int) -> "asyncio.Future[Taken]":
        """Take, see `SharedNumbers`."""
        keys = self._names.of(identity)
        words = (self._process, number, most, known, self._lease, f"{keys.streams}:", scripts.FARTHEST_MS)
        return _then(self._line.eval(scripts.TAKE, [keys.streams], *words), _taken)

    def free(self, identity: str, number: int) -> "asyncio.Future[None]":
        """Free, see `SharedNumbers`."""
        return _then(self._line.eval(scripts.FREE, [self._set(self._names.of(identity))], number), _nothing)

    def keep(self, identity: str) -> "asyncio.Future[int]":
        """Keep, see `SharedNumbers`."""
        keys = self._names.of(identity)
        return _then(self._line.eval(scripts.KEEP, [keys.streams, self._set(keys)], self._process, self._lease), int)

    def say(self, identity: str, numbers: Collection[int]) -> "asyncio.Future[None]":
        """Say all, see `SharedNumbers`."""
        keys = self._names.of(identity)
        words = (self._process, self._lease, *numbers)
        return _then(self._line.eval(scripts.SAY, [keys.streams, self._set(keys)], *words), _nothing)

    def exchange(self, identity: str, asked: Sequence[Asked]) -> "asyncio.Future[list[Told]]":
        """Exchange, see `SharedNumbers`."""
        keys = self._names.of(identity)
        words: list[str | bytes | int] = []
        for each in asked:
            words += (_ms(each.seconds), len(each.said))
            for replica, entry in each.said.items():
                words += (replica, entry)
        where = [_account(keys, each.window) for each in asked]
        return _then(self._line.eval(scripts.EXCHANGE, where, *words), _told)

    def drop(self, window: Window, names: Collection[bytes]) -> "asyncio.Future[None]":
        """Throw away, see `SharedNumbers`."""
        keys = self._names.of(window.subject[0])
        return _then(self._line.call("HDEL", _account(keys, window), *names), _nothing)

    async def close(self) -> None:
        """Let go, see `SharedNumbers`."""
        if self._working is None:
            return
        self._working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._working
        await let_go(self._client)

    def _set(self, keys: Keys) -> str:
        return f"{keys.streams}:{self._process}"


def _account(keys: Keys, window: Window) -> str:
    user = window.subject[1]
    whose = "-" if user is None else keys.user(user)
    return f"{keys.used}{window.per}:{window.length!r}:{window.number}:{whose}"


def _then(asked: "asyncio.Future[Any]", read: Callable[[Any], T]) -> "asyncio.Future[T]":
    """What an answer means; one that means nothing is none. Giving up the one future gives up the other."""
    meant: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def answered(answer: "asyncio.Future[Any]") -> None:
        if meant.done():
            return
        if answer.cancelled():
            meant.cancel()
            return
        try:
            meant.set_result(read(answer.result()))
        except BusUnavailableError as error:
            meant.set_exception(error)
            meant.exception()  # seen, if nobody asks
        except (TypeError, ValueError):
            meant.set_exception(BusUnavailableError("it can't be read"))
            meant.exception()

    asked.add_done_callback(answered)
    meant.add_done_callback(lambda _: asked.cancel())
    return meant


def _text(answer: bytes) -> str:
    return answer.decode(errors="replace")


def _nothing(_answer: Any) -> None:
    return None


def _taken(answer: list[int]) -> Taken:
    state, running, refused = map(int, answer)
    return Taken(None if state < 0 else bool(state), running, refused)


def _told(answer: list[Any]) -> list[Told]:
    return [Told(dict(zip(found[::2], found[1::2], strict=True)), int(refused)) for refused, found in answer]


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)

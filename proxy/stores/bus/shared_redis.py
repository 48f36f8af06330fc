"""The numbers that replicas share, on Redis or Valkey. Needs the extra `distributed`."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from os import urandom
from typing import Any, Final, TypeVar

from proxy.core.bus_address import BusAddress
from proxy.core.use import Window
from proxy.stores.bus import shared_scripts as scripts
from proxy.stores.bus.connect import connect, let_go
from proxy.stores.bus.line import Line, Words
from proxy.stores.bus.names import Keys, Names
from proxy.stores.bus.port import BusUnavailableError
from proxy.stores.bus.shared import Asked, Taken, Told

T = TypeVar("T")

MARK_SECONDS: Final = 86_400.0
CLOSE_SECONDS: Final = 1.0
_PROCESS_BYTES: Final = 8


class RedisNumbers:
    """See `SharedNumbers`. It has lines of its own: neither a stop nor a start waits behind a thousand sums."""

    def __init__(self, address: BusAddress, secret: bytes, lease: float) -> None:
        """Made of the settings; `lease` is in seconds."""
        self._client = connect(address)
        self._names = Names(secret)
        self._line = Line(self._client, lambda _error: None)  # whoever asked is told
        self._has_slots = address.kind == "cluster"
        self._lease = _ms(lease)
        self._process = urandom(_PROCESS_BYTES).hex()
        self._slow = Line(self._client, lambda _error: None)
        self._working: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin, see `SharedNumbers`."""
        start = asyncio.get_running_loop().create_task
        self._working = [start(line.run(), name="a line of the shared numbers") for line in (self._line, self._slow)]

    def mark(self) -> "asyncio.Future[str]":
        """The mark, see `SharedNumbers`."""
        new = urandom(_PROCESS_BYTES).hex()
        return _then(self._line.eval(scripts.MARK, [self._names.mark], new, _ms(MARK_SECONDS)), _text)

    def take(self, identity: str, number: int, most: int, known: int) -> "asyncio.Future[Taken]":
        """Take, see `SharedNumbers`."""
        keys = self._names.of(identity)
        prefix = f"{keys.streams}:"
        words: Words = (self._process, number, most, known, self._lease, prefix, scripts.FARTHEST_MS)
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
        words: Words = (self._process, self._lease, *numbers)
        return _then(self._line.eval(scripts.SAY, [keys.streams, self._set(keys)], *words), _nothing)

    def group(self, window: Window) -> str:
        """On a Cluster those of one caller share a slot."""
        return window.subject[0] if self._has_slots else ""

    def exchange(self, asked: Sequence[Asked], *, first: bool) -> "asyncio.Future[list[Told]]":
        """Exchange, see `SharedNumbers`."""
        words = [
            b" ".join(
                (b"%d" % _ms(each.seconds), *(b"%b %b" % (name.encode(), entry) for name, entry in each.said.items()))
            )
            for each in asked
        ]
        where = [_account(self._names.of(each.window.subject[0]), each.window) for each in asked]
        return _then((self._line if first else self._slow).eval(scripts.EXCHANGE, where, *words), _told)

    async def close(self) -> None:
        """Let go, see `SharedNumbers`."""
        if not self._working:
            return
        for task in self._working:
            task.cancel()
        await asyncio.wait(self._working, timeout=CLOSE_SECONDS)
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


def _told(answer: bytes) -> list[Told]:
    return [_told_of(account.split(b"\n")) for account in answer.split(b"\t")]


def _told_of(lines: list[bytes]) -> Told:
    entries = {}
    for line in lines[1:]:
        name, _, entry = line.partition(b" ")
        entries[name] = entry
    return Told(entries, int(lines[0]))


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)

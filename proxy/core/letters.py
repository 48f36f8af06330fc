"""The letters that replicas send each other over a bus, and the seal that proves who wrote them.

Whoever can reach the bus could write to it, so every letter is signed with a secret that the replicas share (HMAC with
SHA-256, RFC 2104). It names its sender and its addressee, has a number that is taken once, and is fresh for a short
time by the bus's own clock. What it asks for is still looked at as a request of the identity that it names.
"""

import hashlib
import hmac
from collections import OrderedDict
from os import urandom
from typing import Final, Literal

import msgspec

from proxy.core.chosen import Chosen
from proxy.core.generation import Stop
from proxy.core.lifecycle import Cause

FRESH_SECONDS: Final = 10.0
"""How old a letter may be, and how far ahead: more than the bus's clock, as each replica knows it, can be off."""

NUMBERS_MOST: Final = 100_000
"""So many numbers of fresh letters are remembered."""

_SIGNATURE: Final = hashlib.sha256().digest_size
_NUMBER: Final = 12


class LetterError(Exception):
    """A letter that must not be followed. `why` is one of `WHY`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


WHY: Final = ("unreadable", "forged", "misdirected", "stale", "repeated")


class Wish(msgspec.Struct, frozen=True):
    """A stop, as a letter has it."""

    cause: Cause
    by: str | None
    reason: str | None

    @classmethod
    def of(cls, stop: Stop) -> "Wish":
        """A letter's form of it."""
        return cls(stop.cause, stop.by, stop.reason)

    def stop(self) -> Stop:
        """The stop itself."""
        return Stop(self.cause, self.by, self.reason)


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What every letter has; `at` is in seconds of the bus's clock, `to` is empty where any owner is meant."""

    to: str
    by: str
    at: float
    number: str = msgspec.field(default_factory=lambda: urandom(_NUMBER).hex())


class StopIt(Letter, frozen=True, kw_only=True, tag="stop"):
    """Stop what an id of this identity names. `uid` is the generation that it named when this was written."""

    identity: str
    any_id: str
    uid: str
    user: str | None
    confirm: float
    wish: Wish
    wipes: bool = False
    """Its text is to be nowhere, too: what it belongs to was deleted."""


class StopWhenItComes(Letter, frozen=True, kw_only=True, tag="waiting"):
    """Stop a generation that has not come yet, when it comes with this id."""

    identity: str
    any_id: str
    user: str | None
    wish: Wish


class ItCame(Letter, frozen=True, kw_only=True, tag="came"):
    """A waiting stop of the addressee's was used up."""

    identity: str
    any_id: str
    user: str | None


class ServeIt(Letter, frozen=True, kw_only=True, tag="serve"):
    """Serve a request that stops or changes something, in the words of its dialect.

    One that stops may be kept. Then it is served only if the id names that generation still; `uid` says which.
    """

    identity: str
    shown: str
    route: str
    method: str
    rest: str
    query: str
    content_type: str
    body: bytes
    user_header: str | None
    any_id: str = ""
    uid: str = ""


class LookAt(Letter, frozen=True, kw_only=True, tag="look"):
    """Serve a request that only looks at something, in the words of its dialect; `identity` None is the operator's.

    An answer that is a stream is served in parcels, as the reading with this letter's number, behind its first `skip`
    bytes.
    """

    identity: str | None
    shown: str
    route: str
    rest: str
    query: str
    user_header: str | None
    skip: int = 0


class Reads(Letter, frozen=True, kw_only=True, tag="reads"):
    """These readings of the addressee's are still wanted, and how many bytes of each were taken; some are not."""

    taken: dict[str, int]
    left: tuple[str, ...] = ()


class StopThese(Letter, frozen=True, kw_only=True, tag="stop_these"):
    """Stop all that is chosen of what the addressee ran when this was written, and name them."""

    chosen: Chosen
    confirm: float
    dialect: Literal["native", "admin"]
    wish: Wish
    dry: bool = False
    """Only name them."""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a live table: its first rows in this order, with the numbers so far.

    `over`: uids that were shown, and of which it is to be said how they ended.
    """

    sort: str
    falls: bool
    over: tuple[str, ...]


class ListThese(Letter, frozen=True, kw_only=True, tag="list_these"):
    """Give the newest `most` of what is chosen and lives, behind a place in a list; texts to `text` characters."""

    chosen: Chosen
    before: tuple[float, str] | None
    most: int
    text: int
    rows: Rows | None = None
    """Asked for by whoever shows a live table: then these records, in this order."""


class FindIt(Letter, frozen=True, kw_only=True, tag="find"):
    """Say what an id means at the addressee: of an identity, or (None) of anybody, whose operator asks."""

    identity: str | None
    any_id: str
    whole: bool = False
    """With the text, and what only the addressee's ledger has of what is over."""


class Said(Letter, frozen=True, kw_only=True, tag="said"):
    """The answer to the letter with this number: the record, if there is one, as `record_bytes` has it."""

    answers: str
    record: bytes | None


class Served(Letter, frozen=True, kw_only=True, tag="served"):
    """The answer to a request that was served; `status` 0: it is not served there. `streams`: its body comes apart."""

    answers: str
    status: int
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    streams: bool = False


class Stopped(Letter, frozen=True, kw_only=True, tag="stopped"):
    """What came of `StopThese`: the task ids of those that are meant, that were stopped, that are not confirmed yet."""

    answers: str
    matched: tuple[str, ...]
    stopped: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What a live table says besides its records.

    The state of each of them, the records of what is over, how many are chosen in all, and how many live, are read on,
    are queued, and are orphans. None of the records has a text.
    """

    states: tuple[str, ...]
    over: tuple[bytes, ...]
    matched: int
    counts: tuple[int, int, int, int]


class Listed(Letter, frozen=True, kw_only=True, tag="listed"):
    """Records, in the order that was asked for, as `record_bytes` has them; `table` where rows were asked for."""

    answers: str
    records: tuple[bytes, ...]
    table: Table | None = None


class Found(Letter, frozen=True, kw_only=True, tag="found"):
    """Records of what an id means: all that live, else the newest that is over."""

    answers: str
    records: tuple[bytes, ...]


Answer = Said | Served | Stopped | Listed | Found
AnyLetter = StopIt | StopWhenItComes | ItCame | ServeIt | LookAt | Reads | StopThese | ListThese | FindIt | Answer

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(AnyLetter)


def derive(secret: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose, from the one secret that people set."""
    return hmac.digest(secret, f"quell bus: {purpose}".encode(), "sha256")


class Seal:
    """Signs letters, and opens those that were signed with the same secret."""

    def __init__(self, secret: bytes, replica: str) -> None:
        self._key = derive(secret, "letters")
        self._replica = replica
        self._numbers: OrderedDict[str, float] = OrderedDict()

    def close(self, letter: AnyLetter) -> bytes:
        """A letter as it goes over the bus.

        Raises:
            UnicodeEncodeError: a text in it has half a character (a lone surrogate).
        """
        text = _ENCODER.encode(letter)
        return hmac.digest(self._key, text, "sha256") + text

    def open(self, sealed: bytes, now: float) -> AnyLetter:
        """A letter that just came for this replica; each can be opened once.

        Raises:
            LetterError: it must not be followed.
        """
        letter = self.open_kept(sealed)
        if letter.to != self._replica:
            raise LetterError("misdirected")
        if abs(now - letter.at) > FRESH_SECONDS:
            raise LetterError("stale")
        if not self.is_new(letter, now):
            raise LetterError("repeated")
        return letter

    def is_new(self, letter: Letter, now: float) -> bool:
        """Whether a letter with this number was not seen yet; it is from now on."""
        while self._numbers and (len(self._numbers) >= NUMBERS_MOST or next(iter(self._numbers.values())) < now):
            self._numbers.popitem(last=False)
        if letter.number in self._numbers:
            return False
        self._numbers[letter.number] = now + 2 * FRESH_SECONDS
        return True

    def open_kept(self, sealed: bytes) -> AnyLetter:
        """A letter that was kept at the bus, whenever it was written.

        Raises:
            LetterError: nobody who has the secret wrote it.
        """
        signature, text = sealed[:_SIGNATURE], sealed[_SIGNATURE:]
        if not hmac.compare_digest(signature, hmac.digest(self._key, text, "sha256")):
            raise LetterError("forged")
        try:
            letter: AnyLetter = _DECODER.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LetterError("unreadable") from error
        return letter

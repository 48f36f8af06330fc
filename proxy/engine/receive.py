"""Receiving an upstream's answer: as events passed on, as a stream folded into one answer, or as plain bytes.

Judged by the answer's content type first, by what the client asked second.
"""

from asyncio import timeout
from typing import TYPE_CHECKING

from proxy.core.errors import Refusal, UpstreamErrorKind
from proxy.core.sse import Framer, slices
from proxy.core.tee import Tee
from proxy.engine.head import Head
from proxy.engine.upstream import Answer, UpstreamError
from proxy.wire.answer import AnswerFold, AnswerTooLargeError
from proxy.wire.content_coding import Decoder, decoder_for

if TYPE_CHECKING:
    from proxy.engine.relay import Relay

HELD_BYTES = 256 * 1024
"""A JSON answer up to this size is held until it is whole: it goes out in one write, and a stop before that can still
be answered properly. A longer one is passed on as it comes."""

DONE_SECONDS = 2.0
"""How long the end of the HTTP body may take after `[DONE]`: the client has all it wants by then."""

NAMING_BLOCKS = 4
"""In so many blocks the upstream's id is looked for; comments may come before the first event."""

EVENT_STREAM = "text/event-stream"
JSON = "application/json"
KEPT_TYPES = frozenset({EVENT_STREAM, JSON, ""})
"""What a copy is kept of; of anything else (audio, images, a proxy's HTML) only the end of the body tells."""

OK = 200
BODILESS = frozenset({204, 205, 304})
DONE = b"[DONE]"
USAGE = b'"usage"'
REPLACED_HEADERS = frozenset({"content-type", "content-encoding", "content-length", "transfer-encoding"})
PLAIN_CODINGS = frozenset({"", "identity"})


async def receive(relay: "Relay", answer: Answer) -> bool:
    """Take the whole answer; True when it is complete by the rules of its format.

    Raises:
        UpstreamError: it broke off.
        LedgerUnavailableError: the START could not be written, so nothing may go out.
        Refusal: a folded answer that can't be built.
    """
    plan, partial = relay.plan, relay.generation.partial
    plain = answer.coding in PLAIN_CODINGS
    decoder = None if plain else decoder_for(answer.coding)
    streamed = _is_stream(relay, answer)
    if streamed and plan.folded:
        return await _fold_events(relay, answer, plain=plain, decoder=decoder)
    if (plain or decoder is not None) and answer.content_type in KEPT_TYPES:
        relay.tee = Tee(plan.wire, partial, streamed=streamed, bound=relay.rules.kept, decoder=decoder)
    if streamed and plain and relay.tee is not None:
        ended = await _pass_events(relay, answer, relay.tee)
    else:
        await _pass_bytes(relay, answer, hold=answer.content_type == JSON or answer.status in BODILESS)
        ended = True
    fold_rest(relay)
    judged = relay.tee is not None and (streamed or not partial.oversize)
    return partial.complete(eof_clean=ended) if judged else True


def _is_stream(relay: "Relay", answer: Answer) -> bool:
    """Whether SSE events follow: the content type says so, or there is none and events were asked for."""
    asked = relay.plan.streamed or relay.plan.folded
    return answer.status == OK and (answer.content_type == EVENT_STREAM or (asked and not answer.content_type))


def fold_rest(relay: "Relay") -> None:
    """Fold what is left in the tee."""
    if relay.tee is not None:
        relay.tee.fold(final=True)


class _Events:
    """The events of a stream on their way: a copy is kept, the upstream's id and the terminator are looked for."""

    __slots__ = ("_framer", "_relay", "_strips", "_tee", "_unnamed", "over")

    def __init__(self, relay: "Relay", tee: Tee) -> None:
        self._relay = relay
        self._tee = tee
        self._framer = Framer()
        self._strips = relay.plan.strips_usage
        self._unnamed = NAMING_BLOCKS
        self.over = False
        """Whether the terminator came; nothing behind it is of interest."""

    @property
    def oversize(self) -> bool:
        """Whether any event was too large to be held back, and so is missing in the copy."""
        return self._framer.oversize

    def take(self, chunk: bytes) -> bytes:
        """What of the stream can be passed on now that `chunk` came."""
        self._relay.heard()
        framer = self._framer
        block = framer.push(chunk)
        if not framer.oversize:
            return self._look(block) if block else block
        self._relay.generation.partial.oversize = True
        self._relay.amid_event = framer.amid_event
        whole = framer.whole(block)  # bytes of the oversize event stand on one side of it, and go as they are
        before = b"" if block.startswith(whole) else block[: len(block) - len(whole)]
        seen = self._look(whole) if whole else whole
        return before + seen if self.over else before + seen + block[len(before) + len(whole) :]

    def rest(self) -> bytes:
        """The last bytes of a stream that ended without a border."""
        tail = self._framer.flush()
        if tail:
            self._tee.keep(tail)
        return tail

    def _look(self, block: bytes) -> bytes:
        """Look at whole events and keep them; gives what the client gets of them."""
        if self._unnamed:
            self._learn_id(block)
        if DONE in block:
            block = self._up_to_done(block)
        if self._tee.keep(block):
            self._tee.fold()
        if self._strips and USAGE in block:
            block = self._relay.plan.wire.without_extra_usage(block)
        return block

    def _learn_id(self, block: bytes) -> None:
        """Learn the upstream's id at once, so that a stop can name it."""
        upstream_id = self._relay.plan.wire.peek_id(block)
        if upstream_id is None:
            self._unnamed -= 1
        else:
            self._unnamed = 0
            self._relay.learned_id(upstream_id)

    def _up_to_done(self, block: bytes) -> bytes:
        """The block up to its terminating event; all of it when the word only stands in somebody's text."""
        end = 0
        for raw, _ in slices(block):
            end += len(raw)
            if DONE in raw and self._relay.plan.wire.is_done(raw):
                self.over = True
                if (block[end:] + self._framer.tail).strip():
                    self._relay.generation.partial.trailing = True
                return block[:end]
        return block


async def _pass_events(relay: "Relay", answer: Answer, tee: Tee) -> bool:
    """Whole events go to the client as they came; True when the body ended as it should."""
    headers = answer.headers if answer.content_type else [*answer.headers, ("Content-Type", EVENT_STREAM)]
    relay.tape.sse = True
    await relay.publish(Head(answer.status, headers, streamed=True))
    events = _Events(relay, tee)
    while chunk := await answer.read():
        if block := events.take(chunk):
            relay.pass_on(block)
        if events.over:
            return await _ends(relay, answer)
    if tail := events.rest():
        relay.pass_on(tail)
    return True


async def _fold_events(relay: "Relay", answer: Answer, *, plain: bool, decoder: Decoder | None) -> bool:
    """The client wants one answer: build it from the stream. True; an answer that is not complete is an error."""
    if not plain and decoder is None:
        message = "The upstream's stream is compressed in a way that can't be read here, although it was asked not to."
        raise Refusal(502, "upstream_bad_answer", message, type="upstream_error")
    partial = relay.generation.partial
    relay.tee = Tee(relay.plan.wire, partial, streamed=True, bound=relay.rules.kept)
    events, fold, ended = _Events(relay, relay.tee), AnswerFold(relay.rules.answer), True
    while not events.over and (chunk := await answer.read()):
        block = events.take(chunk if decoder is None else decoder.feed(chunk))
        if events.oversize:
            raise _too_large()
        try:
            fold.feed(block)
        except AnswerTooLargeError as error:
            raise _too_large() from error
    if events.over:
        ended = await _ends(relay, answer)
    fold_rest(relay)
    if partial.error is not None:
        raise Refusal(502, "upstream_error", "The upstream reported an error in its stream.", type="upstream_error")
    if not partial.complete(eof_clean=ended):
        raise UpstreamError(UpstreamErrorKind.TRUNCATED)
    body = fold.answer()
    headers = [(name, value) for name, value in answer.headers if name.lower() not in REPLACED_HEADERS]
    headers.append(("Content-Type", JSON))
    relay.tape.append(body)
    await relay.publish(Head(OK, headers, streamed=False, length=len(body), body=body))
    return True


def _too_large() -> Refusal:
    message = "The upstream's answer is longer than limits.tape; ask for it as a stream."
    return Refusal(502, "answer_too_large", message, type="upstream_error")


async def _pass_bytes(relay: "Relay", answer: Answer, *, hold: bool) -> None:
    """Anything that is no plain event stream goes as it is; a JSON answer of ordinary size in one piece."""
    held: list[bytes] = []
    size = 0
    while hold and (chunk := await answer.read()):
        relay.heard()
        held.append(chunk)
        size += len(chunk)
        _keep(relay, chunk)
        hold = size <= HELD_BYTES
    if hold:
        body = b"".join(held)
        relay.tape.append(body)
        await relay.publish(Head(answer.status, answer.headers, streamed=False, length=len(body), body=body))
        return
    await relay.publish(Head(answer.status, answer.headers, streamed=False, length=answer.length))
    for chunk in held:
        relay.pass_on(chunk)
    while chunk := await answer.read():
        relay.heard()
        _keep(relay, chunk)
        relay.pass_on(chunk)


def _keep(relay: "Relay", chunk: bytes) -> None:
    if relay.tee is not None and relay.tee.keep(chunk):
        relay.tee.fold()


async def _ends(relay: "Relay", answer: Answer) -> bool:
    """Whether only the end of the body follows the terminator, as it should.

    What comes instead is not passed on, and it costs the upstream its connection: whatever it says is not trusted.
    """
    try:
        async with timeout(DONE_SECONDS):
            while more := await answer.read():
                if more.strip():
                    relay.generation.partial.trailing = True
                    return False
    except (TimeoutError, UpstreamError):
        return False
    return True

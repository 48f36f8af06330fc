"""Receiving an upstream's answer: as events passed on, as a stream folded into one answer, or as plain bytes.

Judged by the answer's content type first, by what the client asked second.
"""

from asyncio import timeout
from typing import TYPE_CHECKING

from proxy.core.errors import Refusal, UpstreamErrorKind
from proxy.core.tee import Tee
from proxy.engine.relaying.event_stream import EventStream
from proxy.engine.relaying.head import Head
from proxy.engine.translating.translated import in_stream, receive_translated
from proxy.engine.upstreams.upstream import Answer, UpstreamError
from proxy.wire.answer import AnswerTooLargeError
from proxy.wire.content_coding import PLAIN_CODINGS, Decoder, decoder_for

if TYPE_CHECKING:
    from proxy.engine.relaying.relay import Relay

HELD_BYTES = 256 * 1024
"""A JSON answer up to this size is held until it is whole: it goes out in one write, and a stop before that can still
be answered properly. A longer one is passed on as it comes."""

DONE_SECONDS = 2.0
"""How long the end of the HTTP body may take after `[DONE]`: the client has all it wants by then."""

EVENT_STREAM = "text/event-stream"
JSON = "application/json"
KEPT_TYPES = frozenset({EVENT_STREAM, JSON, ""})
"""What a copy is kept of; of anything else (audio, images, a proxy's HTML) only the end of the body tells."""

OK = 200
BODILESS = frozenset({204, 205, 304})
REPLACED_HEADERS = frozenset({"content-type", "content-encoding", "content-length", "transfer-encoding"})


async def receive(relay: "Relay", answer: Answer) -> bool:
    """Take the whole answer; True when it is complete by the rules of its format.

    Raises:
        UpstreamError: it broke off.
        LedgerUnavailableError: the START could not be written, so nothing may go out.
        Refusal: a folded answer that can't be built.
    """
    plan, partial = relay.plan, relay.partial
    if plan.translation is not None:
        return await receive_translated(relay, plan.translation, answer)
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
        ended = await _pass_bytes(relay, answer, streamed=streamed)
    fold_rest(relay)
    if relay.tee is not None and (streamed or not partial.oversize):
        return partial.complete(eof_clean=ended)
    answers_something_else = answer.status == OK and answer.content_type not in KEPT_TYPES and plan.counts
    return not answers_something_else


def _is_stream(relay: "Relay", answer: Answer) -> bool:
    """Whether SSE events follow: the content type says so, or there is none and events were asked for."""
    asked = relay.plan.streamed or relay.plan.folded
    return answer.status == OK and (answer.content_type == EVENT_STREAM or (asked and not answer.content_type))


def fold_rest(relay: "Relay") -> None:
    """Fold what is left in the tee."""
    if relay.tee is not None:
        relay.tee.fold(final=True)


async def _pass_events(relay: "Relay", answer: Answer, tee: Tee) -> bool:
    """Whole events go to the client as they came; True when the body ended as it should."""
    headers = answer.headers if answer.content_type else [*answer.headers, ("Content-Type", EVENT_STREAM)]
    await relay.publish(Head(answer.status, headers, streamed=True))
    events = EventStream(relay, tee)

    def take(chunk: bytes) -> bool:
        if events.over:  # what comes behind the terminator is not passed on
            relay.generation.partial.trailing = relay.generation.partial.trailing or bool(chunk.strip())
        elif block := events.take(chunk):
            relay.pass_on(block)
        return events.over

    ended = await answer.push(take, DONE_SECONDS)
    if events.over:
        return ended and not relay.generation.partial.trailing
    if tail := events.rest():
        relay.pass_on(tail)
    return True


async def _fold_events(relay: "Relay", answer: Answer, *, plain: bool, decoder: Decoder | None) -> bool:
    """The client wants one answer: build it from the stream. True; an answer that is not complete is an error."""
    if not plain and decoder is None:
        message = "The upstream's stream is compressed in a way that can't be read here, although it was asked not to."
        raise Refusal(502, "upstream_bad_answer", message, type="upstream_error")
    partial = relay.partial
    relay.tee = Tee(relay.plan.wire, partial, streamed=True, bound=relay.rules.kept)
    events, fold, ended = EventStream(relay, relay.tee), relay.plan.answer_fold(relay.rules.answer), True
    while not events.over and (chunk := await answer.read()):
        block = events.take(chunk if decoder is None else decoder.feed(chunk))
        if relay.read_on is not None:
            continue
        if events.oversize:
            raise _too_large()
        try:
            fold.feed(block)
        except AnswerTooLargeError as error:
            raise _too_large() from error
    if events.over:
        ended = await _ends(relay, answer)
    fold_rest(relay)
    if relay.read_on is not None:
        return True
    if partial.error is not None:
        raise in_stream(partial.error.message)
    if not partial.complete(eof_clean=ended):
        raise UpstreamError(UpstreamErrorKind.TRUNCATED)
    body = fold.answer()
    headers = [(name, value) for name, value in answer.headers if name.lower() not in REPLACED_HEADERS]
    headers.append(("Content-Type", JSON))
    await relay.publish(Head(OK, headers, streamed=False, length=len(body), body=body))
    return True


def _too_large() -> Refusal:
    message = "The upstream's answer is longer than limits.tape; ask for it as a stream."
    return Refusal(502, "answer_too_large", message, type="upstream_error")


async def _pass_bytes(relay: "Relay", answer: Answer, *, streamed: bool) -> bool:
    """Anything that is no plain event stream goes as it is; True, the body ended as it should."""
    try:
        if answer.content_type == JSON or answer.status in BODILESS:
            await _pass_held(relay, answer)
        else:
            await _pass_on(relay, answer, None if streamed else answer.length, [])
    except BaseException:
        if not streamed:
            _mark_torn(relay)
        raise
    return True


def _mark_torn(relay: "Relay") -> None:
    """Keep what can be read of an answer that broke off; it is not whole, even if its JSON happens to be."""
    fold_rest(relay)
    partial = relay.generation.partial
    partial.finish_reasons.clear()
    partial.ends_with_body = False


async def _pass_held(relay: "Relay", answer: Answer) -> None:
    """A JSON answer of ordinary size goes out in one piece."""
    held: list[bytes] = []
    size = 0
    while chunk := await answer.read():
        relay.heard()
        held.append(chunk)
        size += len(chunk)
        _keep(relay, chunk)
        if size > HELD_BYTES:
            await _pass_on(relay, answer, answer.length, held)
            return
    body = b"".join(held)
    await relay.publish(Head(answer.status, answer.headers, streamed=False, length=len(body), body=body))


async def _pass_on(relay: "Relay", answer: Answer, length: int | None, held: list[bytes]) -> None:
    await relay.publish(Head(answer.status, answer.headers, streamed=False, length=length))
    for chunk in held:
        relay.pass_on(chunk)
        await relay.keep_pace()
    while chunk := await answer.read():
        relay.heard()
        _keep(relay, chunk)
        relay.pass_on(chunk)
        await relay.keep_pace()


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

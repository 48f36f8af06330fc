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
from proxy.wire.content_coding import decoder_for

if TYPE_CHECKING:
    from proxy.engine.relay import Relay

HELD_BYTES = 256 * 1024
"""A JSON answer up to this size is held until it is whole: it goes out in one write, and a stop before that can still
be answered properly. A longer one is passed on as it comes."""

DONE_SECONDS = 2.0
"""How long the end of the HTTP body may take after `[DONE]`: the client has all it wants by then."""

NAMING_BLOCKS = 4
"""In so many blocks the upstream's id is looked for; comments may come before the first event."""

KEPT_TYPES = frozenset({"text/event-stream", "application/json", ""})
"""What a copy is kept of; of anything else (audio, images, a proxy's HTML) only the end of the body tells."""

OK = 200
DONE = b"[DONE]"
USAGE = b'"usage"'
REPLACED_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding"})
PLAIN_CODINGS = frozenset({"", "identity"})


async def receive(relay: "Relay", answer: Answer) -> bool:
    """Take the whole answer; True when it is complete by the rules of its format.

    Raises:
        UpstreamError: it broke off.
        LedgerUnavailableError: the START could not be written, so nothing may go out.
        Refusal: a folded answer that can't be built.
    """
    streamed = answer.status == OK and answer.content_type == "text/event-stream"
    plain = answer.coding in PLAIN_CODINGS
    plan, partial = relay.plan, relay.generation.partial
    decoder = None if plain else decoder_for(answer.coding)
    if (plain or decoder is not None) and answer.content_type in KEPT_TYPES:
        relay.tee = Tee(plan.wire, partial, streamed=streamed, bound=relay.rules.kept, decoder=decoder)
    relay.tape.sse = streamed and plain and not plan.folded
    if streamed and plain:
        await (_fold_events if plan.folded else _pass_events)(relay, answer)
    else:
        await _pass_bytes(relay, answer, hold=answer.content_type == "application/json")
    fold_rest(relay)
    judged = relay.tee is not None and (streamed or not partial.oversize)
    return partial.complete(eof_clean=True) if judged else True


def fold_rest(relay: "Relay") -> None:
    """Fold what is left in the tee."""
    if relay.tee is not None:
        relay.tee.fold(final=True)


async def _pass_events(relay: "Relay", answer: Answer) -> None:
    """Whole events go to the client as they came; a copy goes to the tee."""
    await relay.publish(Head(answer.status, answer.headers, streamed=True))
    framer, tee, strips, unnamed = Framer(), relay.tee, relay.plan.strips_usage, NAMING_BLOCKS
    if tee is None:
        raise RuntimeError("a plain stream is always kept")
    while chunk := await answer.read():
        relay.heard()
        block = framer.push(chunk)
        if not block:
            continue
        if framer.oversize:
            relay.amid_event = _note_oversize(relay, framer, block)
        if unnamed:
            unnamed = _learn_id(relay, block, unnamed)
        over = DONE in block and (end := _end_of_done(relay, block)) is not None
        if over:
            block = block[:end]
        if tee.keep(framer.whole(block)):
            tee.fold()
        if strips and USAGE in block:
            block = relay.plan.wire.without_extra_usage(block)
        if block:
            relay.pass_on(block)
        if over:
            await _expect_end(answer)
            return
    if tail := framer.flush():
        tee.keep(tail)
        relay.pass_on(tail)


async def _fold_events(relay: "Relay", answer: Answer) -> None:
    """The client wants one answer: build it from the stream."""
    framer, tee, fold, unnamed = Framer(), relay.tee, AnswerFold(relay.rules.answer), NAMING_BLOCKS
    if tee is None:
        raise RuntimeError("a plain stream is always kept")
    while chunk := await answer.read():
        relay.heard()
        if not (block := framer.push(chunk)):
            continue
        if unnamed:
            unnamed = _learn_id(relay, block, unnamed)
        if tee.keep(block):
            tee.fold()
        try:
            fold.feed(block)
        except AnswerTooLargeError as error:
            message = "The upstream's answer is longer than limits.tape; ask for it as a stream."
            raise Refusal(502, "answer_too_large", message, type="upstream_error") from error
        if DONE in block and _end_of_done(relay, block) is not None:
            await _expect_end(answer)
            break
    fold_rest(relay)
    partial = relay.generation.partial
    if partial.error is not None:
        raise Refusal(502, "upstream_error", "The upstream reported an error in its stream.", type="upstream_error")
    if not partial.complete(eof_clean=True):
        raise UpstreamError(UpstreamErrorKind.TRUNCATED)
    body = fold.answer()
    headers = [(name, value) for name, value in answer.headers if name.lower() not in REPLACED_HEADERS]
    headers.append(("Content-Type", "application/json"))
    relay.tape.append(body)
    await relay.publish(Head(OK, headers, streamed=False, length=len(body), body=body))


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


def _learn_id(relay: "Relay", block: bytes, tries: int) -> int:
    """Look for the upstream's id at once, so that it can be stopped by it; gives how often to look again."""
    upstream_id = relay.plan.wire.peek_id(block)
    if upstream_id is None:
        return tries - 1
    relay.learned_id(upstream_id)
    return 0


def _note_oversize(relay: "Relay", framer: Framer, block: bytes) -> bool:
    """An event too large to be held goes raw; True while we are in the middle of one."""
    relay.generation.partial.oversize = True
    return not block.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")) or bool(framer.tail)


def _end_of_done(relay: "Relay", block: bytes) -> int | None:
    """Where in the block the terminating event ends; None when the word only stands in somebody's text."""
    end = 0
    for raw, _ in slices(block):
        end += len(raw)
        if DONE in raw and relay.plan.wire.is_done(raw):
            return end
    return None


async def _expect_end(answer: Answer) -> None:
    """After the terminator only the end of the body is of interest: with it the connection can be used again.

    What comes instead is not passed on; the connection is closed then.
    """
    try:
        async with timeout(DONE_SECONDS):
            while not await answer.read():
                return
    except (TimeoutError, UpstreamError):
        return

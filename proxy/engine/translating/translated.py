"""Generations of translated dialects on their way through a relay: the upstream's events become the dialect's.

Every event is folded as it comes and said at once, one for one; the tape has what was said, never the upstream's bytes.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.core.conversation import MessageStatus
from proxy.core.deltas import DeltaPartial
from proxy.core.errors import Refusal, Source, UpstreamErrorKind
from proxy.core.lifecycle import Outcome
from proxy.core.tee import Tee
from proxy.engine.failures import log_failure
from proxy.engine.relaying.event_stream import EventStream
from proxy.engine.relaying.head import Ending, Head
from proxy.engine.services import Services
from proxy.engine.translating.translation import Over, Stored, Translation
from proxy.engine.upstreams.upstream import Answer, UpstreamError
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.wire.chunks import read_object
from proxy.wire.content_coding import PLAIN_CODINGS, Decoder, decoder_for

if TYPE_CHECKING:
    from proxy.engine.relaying.relay import Relay

OK: Final = 200
SERVER_ERROR: Final = 500
EVENT_STREAM: Final = "text/event-stream"
JSON: Final = "application/json"
STREAM_HEAD: Final = Head(OK, [("Content-Type", EVENT_STREAM)], streamed=True)

DONE_SECONDS: Final = 2.0
"""How long the end of the HTTP body may take after `[DONE]`."""
KEEP_SECONDS: Final = 5.0
"""How long the end of a stream waits for the conversation store; after that it goes out all the same, and the store's
write goes on by itself."""
REJECTION_BYTES: Final = 64 * 1024
"""So much of an upstream's error answer is read for its message."""
MESSAGE: Final = 500
"""Characters of an upstream's own words that are passed on."""


def begin(relay: "Relay") -> bytes:
    """Let the translation begin; gives what it says before anything has come from the upstream."""
    translation = relay.plan.translation
    if translation is None:
        return b""
    relay.tape.sse = relay.plan.streamed
    opening = translation.begin(relay.generation.facts)
    return opening if relay.plan.streamed else b""


async def open_early(relay: "Relay", opening: bytes) -> None:
    """Say that: on the tape before its head is shown, so that no stop comes between the two."""
    if opening:
        await relay.start_on_disk()
        relay.say(opening)
        relay.show(STREAM_HEAD)
        await asyncio.sleep(0)  # the client gets it before we work on the call


async def receive_translated(relay: "Relay", translation: Translation, answer: Answer) -> bool:
    """Take the whole answer; True when it is complete by the rules of its format.

    Raises:
        UpstreamError: it broke off, or nobody can read it.
        LedgerUnavailableError: the START could not be written, so nothing may go out.
        Refusal: the upstream refused the call, or a blocking answer is longer than what is kept of it.
    """
    decoder = None if answer.coding in PLAIN_CODINGS else decoder_for(answer.coding)
    if answer.coding not in PLAIN_CODINGS and decoder is None:
        raise UpstreamError(UpstreamErrorKind.BAD_ANSWER)
    if answer.status != OK:
        raise _rejection(answer, await _beginning(answer, decoder))
    partial = relay.partial
    streamed = answer.content_type in (EVENT_STREAM, "")
    if not streamed and answer.content_type != JSON:
        raise UpstreamError(UpstreamErrorKind.BAD_ANSWER)
    relay.tee = tee = Tee(relay.plan.wire, partial, streamed=streamed, bound=relay.rules.answer)
    if relay.plan.streamed:
        if relay.head is None:
            await relay.publish(STREAM_HEAD)
        if relay.read_on is None and (said := translation.answered(relay.wall())):
            relay.say(said)
    if streamed:
        ended = await _take_events(relay, translation, answer, tee, decoder)
    else:  # it did not stream although it was asked to
        ended = await _take_whole(relay, answer, tee, decoder)
    tee.fold(final=True)
    _say(relay, translation)
    if partial.clipped and not relay.plan.streamed and relay.read_on is None:
        raise _too_large("is longer than limits.partial_text; ask for it as a stream.")
    return partial.complete(eof_clean=ended)


async def _take_events(
    relay: "Relay", translation: Translation, answer: Answer, tee: Tee, decoder: Decoder | None
) -> bool:
    events = EventStream(relay, tee)

    def take(chunk: bytes) -> bool:
        if events.over:
            return True
        plain = chunk if decoder is None else decoder.feed(chunk)
        block = events.take(plain)
        if events.oversize and relay.read_on is None:
            raise _too_large("has an event of more than a mebibyte, which can't be translated.")
        if block:
            tee.fold()
            _say(relay, translation)
        return events.over

    ended = await answer.push(take, DONE_SECONDS)
    if not events.over:
        events.rest()
    return ended


async def _take_whole(relay: "Relay", answer: Answer, tee: Tee, decoder: Decoder | None) -> bool:
    while chunk := await answer.read():
        relay.heard()
        tee.keep(chunk if decoder is None else decoder.feed(chunk))
    return True


def _say(relay: "Relay", translation: Translation) -> None:
    partial = relay.generation.partial
    deltas = partial.take_deltas() if isinstance(partial, DeltaPartial) else []
    if deltas:
        said = translation.deltas(deltas, relay.wall())
        if said and relay.plan.streamed:
            relay.say(said)


async def _beginning(answer: Answer, decoder: Decoder | None) -> bytes:
    """As much of an error's body as is needed for its message."""
    body = b""
    try:
        while len(body) < REJECTION_BYTES and (chunk := await answer.read()):
            body += chunk if decoder is None else decoder.feed(chunk)
    except UpstreamError:
        pass  # a broken error is still an error, with what came of its message
    return body


def _rejection(answer: Answer, body: bytes) -> Refusal:
    """The upstream's own refusal: its status, and its words where they can be found."""
    found = read_object(body) or {}
    error = found.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    words = said if isinstance(said, str) and said.isprintable() else ""
    status = answer.status if answer.status >= 400 else 502  # noqa: PLR2004 anything else than 200 or an error is no answer
    message = f"The upstream answered {answer.status}" + (f": {words[:MESSAGE]}" if words else ".")
    kind = "upstream_error" if status >= SERVER_ERROR else "rejected_upstream"
    retry = {name: value for name, value in answer.headers if name.lower() == "retry-after"}
    return Refusal(status, kind, message, type="upstream_error", headers=retry, source=Source.UPSTREAM)


async def conclude_translated(relay: "Relay", translation: Translation, services: Services) -> None:
    """Count, store what became of the answer, then end every reader's stream in the dialect's way."""
    await services.count(relay)
    try:
        over = _over(relay)
        stored = translation.stored(over)
        if stored is not None:
            await _keep(relay, stored, services)
        await _answer_client(relay, translation, over)
    except Exception as error:  # noqa: BLE001 a defect in a dialect must not leave its readers waiting
        log_failure("translation.failed", error, task_id=relay.generation.facts.task_id)
        if relay.head is None:
            relay.show(Refusal.internal())
        relay.end_readers(Ending.BROKEN)
        await _end_failed(relay, services)


async def _end_failed(relay: "Relay", services: Services) -> None:
    """No message may stay in progress; one that has ended by now stays as it is."""
    if (kept := relay.plan.kept) is None:
        return
    try:
        failed = Stored(MessageStatus.FAILED, relay.generation.partial.text(), content=kept.answer.content)
        await _keep(relay, failed, services)
    except Exception as error:  # noqa: BLE001 nor may a generation stay open, whatever the store does
        log_failure("conversation.write_failed", error, task_id=relay.generation.facts.task_id)


async def _keep(relay: "Relay", stored: Stored, services: Services) -> None:
    try:
        async with asyncio.timeout(KEEP_SECONDS):
            await services.keep(relay, stored)
    except TimeoutError as error:  # it is written all the same, behind what it waits for
        log_failure("conversation.write_late", error, task_id=relay.generation.facts.task_id)


async def _answer_client(relay: "Relay", translation: Translation, over: Over) -> None:
    if relay.head is None and not relay.plan.streamed and over.outcome is Outcome.COMPLETED:
        await _answer_whole(relay, translation.answer(over))
    elif relay.head is None:
        relay.show(relay.refusal or over.refusal or Refusal.internal())
    elif relay.plan.streamed and (frames := translation.ending(over)):
        relay.put(frames)
    relay.end_readers(Ending.CLEAN)


async def _answer_whole(relay: "Relay", body: bytes) -> None:
    try:
        await relay.start_on_disk()
    except LedgerUnavailableError:
        relay.show(Refusal.overloaded(5, "ledger_unavailable", "The ledger can't record new work now."))
        return
    except Refusal as refusal:
        relay.show(refusal)
        return
    relay.tape.append(body)
    relay.show(Head(OK, [("Content-Type", JSON)], streamed=False, length=len(body), body=body))


def _over(relay: "Relay") -> Over:
    generation = relay.generation
    outcome, partial = generation.outcome, generation.partial
    stop = generation.stop if generation.was_stopped else None
    refusal = None if stop is not None or outcome is Outcome.COMPLETED else relay.refusal
    if outcome is Outcome.FAILED and refusal is None:
        refusal = in_stream(partial.error.message) if partial.error else Refusal.upstream(UpstreamErrorKind.TRUNCATED)
    ended = generation.ended or generation.facts.started
    at = generation.stopped_at if stop is not None and generation.stopped_at is not None else ended
    return Over(
        outcome=outcome,
        cause=stop.cause if stop else None,
        refusal=refusal,
        usage=generation.counted.usage,
        partial=partial,
        elapsed=at - generation.facts.started,
        wall=generation.facts.started_wall + ended - generation.facts.started,
        priced=generation.priced,
    )


def _too_large(words: str) -> Refusal:
    return Refusal(502, "answer_too_large", f"The upstream's answer {words}", type="upstream_error")


def in_stream(words: str) -> Refusal:
    """The error that the upstream reported inside its answer, with its words if it had any."""
    message = f"The upstream reported an error: {words[:MESSAGE]}" if words else "The upstream reported an error."
    return Refusal(502, "upstream_error", message, type="upstream_error", source=Source.UPSTREAM)

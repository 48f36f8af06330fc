"""`POST /model/response`: from a request to the generation that answers it.

A turn of a thread is a run: an answer that ends with calls of tools leaves it waiting, their results resume it.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus, Thread
from proxy.core.request_body import most_tokens
from proxy.dialects.aitronos import errors, history
from proxy.dialects.aitronos.fields import read_fields
from proxy.dialects.aitronos.ids import NAME, THREAD, fresh, thread_key
from proxy.dialects.aitronos.request import Asked, read_request
from proxy.dialects.aitronos.threads import thread_metadata
from proxy.dialects.aitronos.translation import Named, ResponseTranslation
from proxy.dialects.aitronos.turn import Turn, is_cancelled, left, turn_of
from proxy.engine.plain import PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.engine.translating.desk import Desk
from proxy.engine.translating.run import Run
from proxy.engine.translating.translation import Kept
from proxy.wire.chat_request import PATH, chat_request
from proxy.wire.openai_chat import OpenAIChat

WIRE: Final = OpenAIChat()
PLAIN: Final = "Answer in plain text, without Markdown or any other formatting."
"""What the output mode `plain` asks of the model: formatting can't be taken out of a stream piece by piece."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a response goes: `thread` is a new one, None for one that is there."""

    key: str
    thread: Thread | None


async def respond(request: PlainRequest, desk: Desk) -> Plan:
    """`POST /model/response`."""
    return await _respond(request, desk)


async def stream(request: PlainRequest, desk: Desk) -> Plan:
    """`POST /model/response/stream`: the same with `stream: true`."""
    return await _respond(request, desk, streams=True)


async def _respond(request: PlainRequest, desk: Desk, *, streams: bool = False) -> Plan:
    asked = read_request(await read_fields(request.body, desk), desk.route.model)
    if streams:
        asked = replace(asked, streams=True)
    place = await _place(asked, desk)
    run = await _run(place, asked, desk, request.user_header)
    if run is None:
        raise errors.busy()
    earlier = [] if place.thread is not None else await _earlier(asked, place.key, desk)
    _check_results(asked, earlier)
    return await _plan(request, asked, place, run, earlier, desk)


async def _place(asked: Asked, desk: Desk) -> Place:
    """The thread that is meant, or a new one.

    Raises:
        Refusal: 404, the caller has no such thread or response.
    """
    owner, now = desk.owner(NAME), desk.wall()
    if asked.thread_id is not None:
        key = thread_key(asked.thread_id)
        if await desk.conversations.find_thread(owner, key) is None:
            raise errors.not_found("thread with this thread_id")
        return Place(key, None)
    if asked.cut is not None:
        message = await desk.conversations.find_message(owner, asked.cut.message_id)
        if message is None or message.thread_id is None:
            raise errors.not_found(f"response with this {asked.cut.field}")
        return Place(message.thread_id, None)
    key = fresh(THREAD)
    metadata = thread_metadata(visible=asked.visible, assistant_id=asked.assistant_id)
    thread = Thread(key, owner.identity, NAME, now, now, metadata=metadata)
    return Place(key, thread)


async def _run(place: Place, asked: Asked, desk: Desk, user: str | None) -> Run | None:
    """The run: one that waits goes on with results of tools; None when one is working.

    Raises:
        Refusal: 422, the run that the results belong to was cancelled.
    """
    await desk.settle_run(place.key)
    if asked.results:
        run = desk.run(place.key)
        if run is not None and run.stop is not None:
            raise _cancelled(asked)
        if (run := await desk.resume_run(place.key, NAME)) is not None:
            return run
    run = await desk.begin_run(place.key, NAME, user)
    if run is not None:
        run.on_left = left
        run.notes["turn"] = Turn(
            owner=desk.owner(NAME),
            conversations=desk.conversations,
            wipe=desk.wipe,
            window=desk.cancellation.quick_edit_window,
            started=run.started,
        )
    return run


async def _earlier(asked: Asked, thread_id: str, desk: Desk) -> list[Message]:
    """What of the thread goes up."""
    owner, cut = desk.owner(NAME), asked.cut
    try:
        return await history.load(desk.conversations, owner, thread_id, cut, keeps_question=bool(asked.results))
    except KeyError:
        raise errors.not_found(f"message in this thread with this {cut.field if cut else 'id'}") from None


def _check_results(asked: Asked, earlier: list[Message]) -> None:
    """Results of tools must be those that the thread's last answer asks for."""
    if not asked.results:
        return
    waiting = history.waits_for(earlier)
    if waiting is not None and is_cancelled(waiting.status, waiting.metadata):
        raise _cancelled(asked)
    calls = [] if waiting is None else history.calls_of(waiting)
    wrong = {
        f"inputs.{number}.tool_call_id": "expected a tool call that the thread's last answer asks for and that "
        "was not cancelled"
        for number, each in enumerate(asked.inputs)
        if each.role == "tool" and each.tool_call_id not in calls
    }
    if wrong:
        raise errors.invalid(wrong)


def _cancelled(asked: Asked) -> errors.Invalid:
    at = next(number for number, each in enumerate(asked.inputs) if each.role == "tool")
    said = "the response that called this tool was cancelled, so its results are not taken; send a new user input"
    return errors.invalid({f"inputs.{at}.tool_call_id": said})


async def _plan(
    request: PlainRequest, asked: Asked, place: Place, run: Run, earlier: list[Message], desk: Desk
) -> Plan:
    turn = turn_of(run)
    if turn is None:
        raise RuntimeError("a run of another dialect")
    before = _messages(asked, place.key, desk)
    response_id = fresh("resp_")
    answer = Message(
        id=response_id.replace("resp_", "msg_"),
        identity=desk.identity.name,
        dialect=NAME,
        role="assistant",
        created_at=desk.wall(),
        status=MessageStatus.IN_PROGRESS,
        thread_id=place.key,
        metadata=asked.metadata,
    )
    turn.messages += [*(message.id for message in before), answer.id]
    named = Named(
        thread_id=place.key,
        response_id=response_id,
        user_message_id=next((each.id for each in reversed(before) if each.role == "user"), before[-1].id),
        organization_id=asked.organization_id,
        assistant_id=asked.assistant_id,
        metadata=asked.metadata,
    )
    ahead = desk.now() - run.started
    make = partial(
        chat_request,
        asked.model,
        [*_instructions(asked), *history.upstream_messages([*earlier, *before])],
        asks_usage=desk.asks_usage,
        **asked.options,
    )
    return Plan(
        dialect=NAME,
        wire=WIRE,
        path=PATH,
        query="",
        body=await desk.made(len(request.body), make),
        model=asked.model,
        user=request.user_header,
        streamed=asked.streams,
        asks_usage=desk.asks_usage,
        translation=ResponseTranslation(named, turn, structured=asked.is_structured, ahead=ahead),
        kept=Kept(answer, tuple(before), place.thread),
        run=run,
        message_id=answer.id,
        aliases=(place.key, response_id),
        max_tokens=most_tokens(asked.options),
    )


def _instructions(asked: Asked) -> list[dict[str, Any]]:
    said = [part for part in (asked.instructions, PLAIN if asked.mode == "plain" else None) if part]
    return [{"role": "system", "content": "\n\n".join(said)}] if said else []


def _messages(asked: Asked, thread_id: str, desk: Desk) -> list[Message]:
    """The inputs as messages of the thread."""
    found: list[Message] = []
    for each in asked.inputs:
        content: dict[str, Any] = {}
        if each.chat != {"role": each.role, "content": each.text}:
            content["chat"] = each.chat
        if asked.cut is not None and not found:
            content["cut"] = history.cut_content(asked.cut)
        found.append(
            Message(
                id=fresh("msg_"),
                identity=desk.identity.name,
                dialect=NAME,
                role=each.role,
                created_at=desk.wall(),
                thread_id=thread_id,
                text=each.text,
                content=content or None,
            )
        )
    return found

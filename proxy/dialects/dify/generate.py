"""The endpoints that start a generation: of a completion app, a chat app, a workflow app."""

from functools import partial
from typing import Any, Final

from proxy.core.conversation import Message, MessageStatus, Thread
from proxy.core.errors import Refusal
from proxy.core.ids import new_id
from proxy.dialects.dify.errors import invalid_param, not_there
from proxy.dialects.dify.fields import body_of, flag_of, uuid_of
from proxy.dialects.dify.request import Asked, read_request
from proxy.dialects.dify.translation import MessageTranslation
from proxy.dialects.dify.turn import PAST_CHARACTERS, Turn, chat_messages, check_required
from proxy.dialects.dify.workflow import WorkflowTranslation
from proxy.engine.plain import PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.engine.translating.desk import Desk
from proxy.engine.translating.translation import Kept, Translation
from proxy.stores.conversations.port import Window
from proxy.wire.chat_request import PATH, chat_request
from proxy.wire.openai_chat import OpenAIChat

NAME: Final = "dify"
WIRE: Final = OpenAIChat()
PAST: Final = 500
"""Messages of a conversation that are read for its next turn."""
UNNAMED: Final = "New conversation"
MOST_NAME: Final = 75
"""Characters of a conversation's name that is made of its first query."""


async def complete(request: PlainRequest, desk: Desk) -> Plan:
    """`POST /completion-messages`."""
    asked = read_request(await body_of(request, desk), desk.route)
    check_required(asked.turn, desk.route)
    upward = chat_messages(asked.turn, desk.route)
    return await _plan(
        request, desk, asked, upward, MessageTranslation("completion", asked.turn), Kept(_answer(desk, asked))
    )


async def chat(request: PlainRequest, desk: Desk) -> Plan:
    """`POST /chat-messages`: the next turn of a conversation, or the first one of a new conversation."""
    body = await body_of(request, desk)
    asked = read_request(body, desk.route)
    query = asked.turn.values()["query"]
    if not query:
        raise invalid_param("query is required.", "query")
    names_itself = flag_of(body, "auto_generate_name", default=True)
    conversation_id = uuid_of(body, "conversation_id")
    past: list[Message] = []
    thread = None
    if conversation_id is None:
        thread = _new_thread(desk, asked, name_of(query) if names_itself else UNNAMED)
        conversation_id = thread.id
    else:
        asked, past = await _go_on(desk, asked, conversation_id)
    check_required(asked.turn, desk.route)
    upward = chat_messages(asked.turn, desk.route, past)
    kept = Kept(_answer(desk, asked, conversation_id), thread=thread)
    return await _plan(request, desk, asked, upward, MessageTranslation("chat", asked.turn, conversation_id), kept)


async def run_workflow(request: PlainRequest, desk: Desk) -> Plan:
    """`POST /workflows/run`: a workflow of one node, the model."""
    asked = read_request(await body_of(request, desk), desk.route)
    check_required(asked.turn, desk.route)
    upward = chat_messages(asked.turn, desk.route)
    return await _plan(request, desk, asked, upward, WorkflowTranslation(asked.turn), Kept(_answer(desk, asked)))


def app_of(desk: Desk) -> str:
    """What the store keeps a conversation under: in Dify an app, here a route, has its own."""
    return f"{NAME} {desk.route.path}"


def name_of(query: str) -> str:
    """The name of a conversation: the beginning of its first query, on one line."""
    words = " ".join(query.split())
    return words if len(words) <= MOST_NAME else f"{words[: MOST_NAME - 1]}…"


async def _go_on(desk: Desk, asked: Asked, conversation_id: str) -> tuple[Asked, list[Message]]:
    """The request with the inputs of its conversation where it sends none, and the messages so far, newest first."""
    owner = desk.owner(app_of(desk), asked.user)
    thread = await desk.conversations.find_thread(owner, conversation_id)
    if thread is None:
        raise not_there("Conversation")
    window = Window(limit=PAST, most_bytes=4 * PAST_CHARACTERS)  # that many characters, whatever they are
    past, _ = await desk.conversations.messages(owner, conversation_id, window)
    inputs = {**thread.metadata.get("inputs", {}), **asked.turn.inputs}
    return Asked(asked.user, Turn(asked.turn.query, inputs, asked.turn.images), asked.streams), past


def _new_thread(desk: Desk, asked: Asked, name: str) -> Thread:
    now = desk.wall()
    return Thread(
        id=new_id(),
        identity=desk.identity.name,
        dialect=app_of(desk),
        created_at=now,
        updated_at=now,
        user=asked.user,
        name=name,
        metadata={"inputs": dict(asked.turn.inputs)},
    )


def _answer(desk: Desk, asked: Asked, conversation_id: str | None = None) -> Message:
    """The message that grows: in Dify a message is a query together with its answer."""
    return Message(
        id=new_id(),
        identity=desk.identity.name,
        dialect=app_of(desk),
        role="assistant",
        created_at=desk.wall(),
        status=MessageStatus.IN_PROGRESS,
        thread_id=conversation_id,
        user=asked.user,
        content=asked.turn.content(),
    )


async def _plan(
    request: PlainRequest,
    desk: Desk,
    asked: Asked,
    upward: list[dict[str, Any]],
    translation: Translation,
    kept: Kept,
) -> Plan:
    model = desk.route.model
    if model is None:
        message = "The route names no model, and a request can't name one here: set the route's model in the config."
        raise Refusal.bad_request("provider_not_initialize", message)
    make = partial(chat_request, model, upward, asks_usage=desk.asks_usage, user=asked.user)
    return Plan(
        dialect=NAME,
        wire=WIRE,
        path=PATH,
        query="",
        body=await desk.made(len(request.body), make),
        model=model,
        user=asked.user,
        streamed=asked.streams,
        asks_usage=desk.asks_usage,
        translation=translation,
        kept=kept,
        message_id=kept.answer.id,
    )

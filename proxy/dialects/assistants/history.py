"""What the model reads: the instructions, as much of the thread as the run wants, and the run's own tool rounds.

Tokens of a prompt are estimated here: one for 4 characters, and 4 for each message.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.core.conversation import Message
from proxy.dialects.assistants.content import chat_of, details
from proxy.dialects.assistants.ids import NAME
from proxy.engine.translating.desk import Desk
from proxy.stores.conversations.port import Window

PAGE: Final = 200
MOST_MESSAGES: Final = 1000
MOST_CHARACTERS: Final = 1 << 20
"""So much of a thread is read and goes upstream, the newest of it; the message that goes beyond it is the last."""
PER_MESSAGE: Final = 4
CHARACTERS_A_TOKEN: Final = 4

Chat = list[dict[str, Any]]


async def load(thread_id: str, run: Mapping[str, Any], desk: Desk) -> list[Message]:
    """The messages of a thread that a run may read, newest first, without what it has said itself."""
    owner = desk.owner(NAME)
    most = min(run["truncation_strategy"]["last_messages"] or MOST_MESSAGES, MOST_MESSAGES)
    found: list[Message] = []
    characters, more, after = 0, True, None
    while more and len(found) < most and characters < MOST_CHARACTERS:
        window = Window(PAGE, "newest", after, most_bytes=MOST_CHARACTERS - characters)
        part, more = await desk.conversations.messages(owner, thread_id, window)
        after = part[-1].id if part else None
        found += [message for message in part if details(message).get("run_id") != run["id"]]
        characters += size_of(part)
        more = more and bool(part)
    return found[:most]


def size_of(messages: Sequence[Message]) -> int:
    """About how many characters these messages are, addresses of images included: those may hold the whole image."""
    images = (part for message in messages for part in details(message).get("parts") or () if "image_url" in part)
    return sum(len(message.text) for message in messages) + sum(len(each["image_url"]["url"]) for each in images)


def fitting(run: Mapping[str, Any], newest_first: Sequence[Message], rounds: Chat, room: int | None) -> Chat | None:
    """The chat of a run; None: it does not fit into `room` prompt tokens, where that is bounded.

    The strategy `auto` leaves out the oldest messages until the rest fits, never the newest one.
    """
    instructions = [{"role": "system", "content": run["instructions"]}] if run["instructions"] else []
    least = estimate([*instructions, *rounds])
    last = run["truncation_strategy"]["last_messages"]
    turns = [chat for message in newest_first[:last] if (chat := chat_of(message)) is not None]
    bound = MOST_CHARACTERS // CHARACTERS_A_TOKEN if room is None else room - least
    taken: Chat = []
    for turn in turns:
        bound -= estimate([turn])
        if bound < 0 and (taken or room is not None):
            break
        taken.append(turn)
    cut = len(taken) < len(turns)
    if room is not None and (room < least or (cut and (last is not None or not taken))):
        return None
    return [*instructions, *taken[::-1], *rounds]


def estimate(chat: Chat) -> int:
    """About how many tokens a chat has."""
    return sum(PER_MESSAGE + -(-_characters(turn) // CHARACTERS_A_TOKEN) for turn in chat)


def characters(chat: Chat) -> int:
    """How many characters a chat has, its tool calls as JSON."""
    return sum(map(_characters, chat))


def _characters(turn: Mapping[str, Any]) -> int:
    content = turn.get("content") or ""
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    calls = turn.get("tool_calls")
    return len(text) + (len(json.dumps(calls)) if calls else 0)

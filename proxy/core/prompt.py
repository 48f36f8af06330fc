"""What of a request becomes prompt tokens: its texts, and the tokens that OpenAI's models get between them.

Sources: OpenAI's published recipe for messages (3 tokens each, 1 for a name, 3 for the reply's beginning); for
functions the same measurements as in `function_types`. What can't be counted here (pictures, sound, files, what a
provider has stored) makes the count a lower bound.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.function_types import function_types

_PER_MESSAGE: Final = 3
_PER_NAME: Final = 1
_PER_REPLY: Final = 3
_PER_CALL: Final = 3
"""For each call of a function that an assistant's message has."""
_FUNCTIONS: Final = 9
"""For the system message that tells of functions."""
_SHARED_SYSTEM: Final = -4
"""Less, where the request has a system message of its own to put them into."""
_FUNCTION_ROLE: Final = -2
"""Less, for a message of the older role `function`, whose name stands for it."""
_CHOICE_NONE: Final = 1
_CHOICE_NAMED: Final = 4
_STORED: Final = ("previous_response_id", "conversation")
"""What names a prompt that only the provider has."""
_SYSTEM: Final = frozenset({"system", "developer"})


@dataclass(slots=True)
class Prompt:
    """What is to be counted. `whole`: nothing was left out."""

    texts: list[str] = field(default_factory=list)
    tokens: int = 0
    """What needs no tokenizer."""
    whole: bool = True

    def add(self, *texts: object) -> None:
        """Add those of the values that are texts."""
        self.texts += [text for text in texts if isinstance(text, str) and text]


def read_prompt(request: Any) -> Prompt | None:
    """The prompt of a chat, a completion or a response; None: the request has none.

    `messages` go before `prompt`, that before `input`.
    """
    if not isinstance(request, dict):
        return None
    prompt = Prompt()
    if isinstance(request.get("messages"), list):
        _add_chat(request, request["messages"], prompt)
    elif isinstance(request.get("prompt"), str | list):
        _add_plain(request["prompt"], prompt)
        prompt.add(request.get("suffix"))
    elif request.get("input") is not None:
        _add_response(request, prompt)
    else:
        return None
    return prompt


def _add_plain(found: Any, prompt: Prompt) -> None:
    """A completion's prompt: texts, or tokens as numbers, or lists of either."""
    if isinstance(found, list):
        for each in found:
            _add_plain(each, prompt)
    elif isinstance(found, int) and not isinstance(found, bool):
        prompt.tokens += 1
    else:
        prompt.add(found)


def _add_response(request: dict[str, Any], prompt: Prompt) -> None:
    """A response's input is told like a chat: items with a role are messages, calls and their outputs too."""
    found = request["input"]
    items = [{"role": "user", "content": found}] if isinstance(found, str) else found
    instructions = request.get("instructions")
    messages = [{"role": "system", "content": instructions}] if isinstance(instructions, str) else []
    _add_chat(request, [*messages, *items] if isinstance(items, list) else messages, prompt)
    stored = request.get("prompt") is not None or any(request.get(key) is not None for key in _STORED)
    prompt.whole = prompt.whole and not stored


def _add_chat(request: dict[str, Any], messages: list[Any], prompt: Prompt) -> None:
    system = request.get("system")  # Anthropic's has a place of its own
    if isinstance(system, str | list):
        messages = [{"role": "system", "content": system}, *messages]
    functions = list(_functions(request, prompt))
    if functions:
        messages = _with_functions(messages, function_types(functions), prompt)
    for message in messages:
        prompt.tokens += _PER_MESSAGE
        if isinstance(message, dict):
            _add_message(message, prompt)
    prompt.tokens += _PER_REPLY
    _add_choice(request.get("tool_choice", request.get("function_call")), prompt)
    _add_format(request, prompt)


def _with_functions(messages: list[Any], functions: str, prompt: Prompt) -> list[Any]:
    """The messages when there are functions: these go into the first system message, behind a line's end."""
    prompt.add(functions)
    prompt.tokens += _FUNCTIONS
    for number, message in enumerate(messages):
        if isinstance(message, dict) and message.get("role") in _SYSTEM:
            prompt.tokens += _SHARED_SYSTEM
            content = message.get("content")
            ended = f"{content}\n" if isinstance(content, str) else content
            return [*messages[:number], {**message, "content": ended}, *messages[number + 1 :]]
    return messages


def _add_message(message: dict[str, Any], prompt: Prompt) -> None:
    role, name = message.get("role"), message.get("name")
    prompt.add(role)
    if isinstance(name, str) and name:
        prompt.add(name)
        prompt.tokens += _PER_NAME
    if role == "function":
        prompt.tokens += _FUNCTION_ROLE
    _add_content(message.get("content"), prompt)
    _add_content(message.get("output"), prompt)
    prompt.add(message.get("arguments"), message.get("refusal"), message.get("reasoning_content"))
    calls = message.get("tool_calls")
    for call in [*(calls if isinstance(calls, list) else ()), {"function": message.get("function_call")}]:
        function = call.get("function", call.get("custom")) if isinstance(call, dict) else None
        if isinstance(function, dict):
            prompt.add(function.get("name"), function.get("arguments"), function.get("input"))
            prompt.tokens += _PER_CALL


def _add_content(content: Any, prompt: Prompt) -> None:
    """The texts of a content, or of its parts; of other parts it is known that they are there."""
    if isinstance(content, list):
        for part in content:
            _add_content(part, prompt)
    elif isinstance(content, dict):
        text = next(
            (content[key] for key in ("text", "refusal", "thinking") if isinstance(content.get(key), str)), None
        )
        if text is not None:
            prompt.add(text)
        elif "content" in content:
            _add_content(content["content"], prompt)
        elif isinstance(content.get("input"), dict):
            prompt.add(content.get("name"), _json(content["input"]))
        else:
            prompt.whole = False
    else:
        prompt.add(content)


def _functions(request: dict[str, Any], prompt: Prompt) -> Iterator[dict[str, Any]]:
    """The functions that a model is told of; the provider's own tools have texts that nobody else knows."""
    tools, older = request.get("tools"), request.get("functions")
    for tool in [*(tools if isinstance(tools, list) else ()), *(older if isinstance(older, list) else ())]:
        found = tool.get("function", tool.get("custom", tool)) if isinstance(tool, dict) else None
        if isinstance(found, dict) and isinstance(found.get("name"), str):
            yield found
        else:
            prompt.whole = False


def _add_choice(choice: Any, prompt: Prompt) -> None:
    if choice == "none":
        prompt.tokens += _CHOICE_NONE
    elif isinstance(choice, dict):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            prompt.add(name)
            prompt.tokens += _CHOICE_NAMED


def _add_format(request: dict[str, Any], prompt: Prompt) -> None:
    """A JSON schema that the answer must follow is told to the model as JSON, below a heading with its name."""
    text = request.get("text")
    found = request.get("response_format", text.get("format") if isinstance(text, dict) else None)
    named = found.get("json_schema", found) if isinstance(found, dict) else None
    if isinstance(named, dict) and isinstance(named.get("schema"), dict):
        heading = f"# Response Formats\n\n## {named.get('name')}\n\n"
        description = named.get("description")
        prompt.add(heading + (f"// {description}\n" if isinstance(description, str) else "") + _json(named["schema"]))


def _json(found: Any) -> str:
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)

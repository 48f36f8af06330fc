"""The tools of a request, and how the model is to choose among them. Sources: Anthropic's and OpenAI's references."""

from typing import Any, Final

from proxy.dialects.async_messages import fields
from proxy.dialects.async_messages.errors import invalid

CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


def read_tools(found: Any) -> list[dict[str, Any]] | None:
    """The client's own tools as functions; None when there are none. What a server would run itself is refused."""
    if found is None:
        return None
    tools = []
    for number, each in enumerate(fields.items(found, ("tools",), empty=True)):
        where = ("tools", number)
        tool = fields.mapping(each, where)
        if tool.get("type") is not None:
            fields.word(tool["type"], (*where, "type"), "custom")
        function: dict[str, Any] = {"name": fields.text(tool.get("name"), (*where, "name"))}
        if tool.get("description") is not None:
            function["description"] = fields.text(tool["description"], (*where, "description"), empty=True)
        function["parameters"] = fields.mapping(tool.get("input_schema"), (*where, "input_schema"))
        tools.append({"type": "function", "function": function})
    return tools or None


def read_choice(found: Any, tools: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The fields of the upstream's request that say how to choose; none where nothing was said or there are no tools.

    Raises:
        Refusal: 422, also for a tool that is not among the tools.
    """
    if found is None:
        return {}
    where = ("tool_choice",)
    choice = fields.mapping(found, where)
    kind = fields.word(choice.get("type"), (*where, "type"), *CHOICES, "tool")
    names = [tool["function"]["name"] for tool in tools or ()]
    if kind == "tool" and fields.text(choice.get("name"), (*where, "name")) not in names:
        raise invalid((*where, "name"), "must be the name of one of the tools")
    single = choice.get("disable_parallel_tool_use")
    if single is not None:
        fields.flag(single, (*where, "disable_parallel_tool_use"))
    if kind == "any" and not names:
        raise invalid(where, "must not be any without tools")
    if not names:
        return {}
    asked = {"type": "function", "function": {"name": choice["name"]}} if kind == "tool" else CHOICES[kind]
    return {"tool_choice": asked, "parallel_tool_calls": False if single else None}

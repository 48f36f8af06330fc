"""The tool calls of one generation: their step, its deltas, and what they are in the end."""

from typing import Any

from proxy.core.deltas import Delta
from proxy.core.partial import Partial, safe_text
from proxy.dialects.assistants import frames
from proxy.dialects.assistants.fields import MAX_ID
from proxy.dialects.assistants.ids import CALL, fresh
from proxy.dialects.assistants.live import LiveRun


class Calls:
    """Tool calls as they come. Theirs is one step, which begins with the first of them.

    An upstream numbers its calls as it likes and may leave their ids out, or give some that can't be taken back from a
    client; here they count from 0, each with an id.
    """

    def __init__(self, live: LiveRun) -> None:
        self.step_id = ""
        self._live = live
        self._ids: dict[int, str] = {}
        self._names: dict[int, str] = {}

    def add(self, delta: Delta, now: float) -> bytes:
        """The events for one more piece of a call."""
        said = b""
        if not self.step_id:
            step = self._live.add_step(now, {"type": "tool_calls", "tool_calls": []})
            self.step_id = step["id"]
            said = frames.step_event(step, "created") + frames.step_event(step)
        is_new = delta.place not in self._ids
        known = self._names.get(delta.place, "")
        name = "" if delta.name == known else delta.name  # some send it again as a whole
        self._names[delta.place] = known + name
        if is_new:
            self._ids[delta.place] = delta.id if self._is_fit(delta.id) else fresh(CALL)
        call: dict[str, Any] = {"index": [*self._ids].index(delta.place), "type": "function"}
        function: dict[str, Any] = {"arguments": delta.text}
        if is_new:
            call["id"] = self._ids[delta.place]
            function |= {"name": name, "output": None}
        elif name:
            function["name"] = name
        return said + frames.call_delta(self.step_id, {**call, "function": function})

    def _is_fit(self, ident: str) -> bool:
        """Whether a client can name a call by the id that its upstream gave it."""
        return 0 < len(ident) <= MAX_ID and ident == safe_text(ident) and ident not in self._ids.values()

    def finish(self, partial: Partial) -> list[dict[str, Any]]:
        """The calls as far as they came, in the order in which they began; their step has them then."""
        found = dict(zip(sorted(self._ids), partial.tool_calls(), strict=False))
        calls = [
            {
                "id": ident,
                "type": "function",
                "function": {"name": found[place][1], "arguments": found[place][2], "output": None},
            }
            for place, ident in self._ids.items()
            if place in found
        ]
        if self.step_id:
            self._live.change_step(self.step_id, step_details={"type": "tool_calls", "tool_calls": calls})
        return calls

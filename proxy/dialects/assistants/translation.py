"""What a run says of one generation: its events, and what becomes of its objects.

Source: OpenAI's API reference (assistants streaming). Of a stopped run's stream no transcript is documented: the run is
cancelling, then its message, its step and itself end. A message begins with its first text, a step with its first call.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from proxy.core.conversation import Item, Message, MessageStatus
from proxy.core.deltas import Delta, DeltaKind
from proxy.core.generation import Facts
from proxy.dialects.assistants import frames
from proxy.dialects.assistants.calls import Calls
from proxy.dialects.assistants.content import details, shown, text_part
from proxy.dialects.assistants.ends import End, end_of
from proxy.dialects.assistants.live import LiveRun
from proxy.engine.translating.translation import KeepAlive, Over, Stored


class RunTranslation:
    """One generation of a run."""

    keep_alive: Final[KeepAlive | None] = None

    def __init__(
        self,
        live: LiveRun,
        answer: Message,
        *,
        thread: dict[str, Any] | None = None,
        results: dict[str, Any] | None = None,
    ) -> None:
        """For a run.

        Args:
            live: the run.
            answer: the message that it may say.
            thread: the new thread that the same request made.
            results: the step whose tool calls have their results now, as it is with them.
        """
        self._live = live
        self._answer = answer
        self._thread = thread
        self._results = results
        self._parts: list[DeltaKind] = []
        self._message_step = ""
        self._calls = Calls(live)
        self._piece = b"", b""
        self._last = b""

    def begin(self, facts: Facts) -> bytes:  # noqa: ARG002 times and ids are the run's own
        """The run is there, and queued: from here on the client can cancel."""
        live, said = self._live, b""
        if self._thread is not None:
            said += frames.event("thread.created", self._thread)
        if self._results is None:
            return said + frames.event("thread.run.created", live.run) + frames.run_event(live.run)
        live.rounds = live.rounds_with(self._results)
        live.change_step(self._results["id"], **self._results)
        live.queue()
        return frames.step_event(self._results) + frames.run_event(live.run)

    def answered(self, now: float) -> bytes:
        """The upstream has accepted the call."""
        self._live.begin(now)
        return frames.run_event(self._live.run)

    def deltas(self, deltas: Sequence[Delta], now: float) -> bytes:
        """A delta for each piece of text or of a tool call."""
        return b"".join(self._delta(delta, now) for delta in deltas)

    def _delta(self, delta: Delta, now: float) -> bytes:
        match delta.kind:
            case DeltaKind.TEXT if delta.text:
                if self._parts[:1] == [DeltaKind.TEXT]:  # the way of nearly every delta
                    return self._piece[0] + json.dumps(delta.text).encode() + self._piece[1]
                return self._part(delta, now)
            case DeltaKind.REFUSAL if delta.text:
                return self._part(delta, now)
            case DeltaKind.TOOL_CALL:
                return self._calls.add(delta, now)
        return b""

    def _part(self, delta: Delta, now: float) -> bytes:
        """A piece of a message's part that is new, or not the first."""
        said = b"" if self._parts else self._open(now)
        is_new = delta.kind not in self._parts
        if is_new:
            self._parts.append(delta.kind)
        message_id, place = self._answer.id, self._parts.index(delta.kind)
        if delta.kind is DeltaKind.REFUSAL:
            return said + frames.refusal_delta(message_id, delta.text, place)
        self._piece = frames.text_frames(message_id)
        return said + (frames.first_text if is_new else frames.more_text)(message_id, delta.text, place)

    def _open(self, now: float) -> bytes:
        creation = {"type": "message_creation", "message_creation": {"message_id": self._answer.id}}
        step = self._live.add_step(now, creation)
        self._message_step = step["id"]
        message = shown(self._answer)
        return (
            frames.step_event(step, "created")
            + frames.step_event(step)
            + frames.event("thread.message.created", message)
            + frames.event("thread.message.in_progress", message)
        )

    # The end.

    def stored(self, over: Over) -> Stored:
        """The message as far as it came, the steps, and the run: it ends, or waits for results of tools."""
        live, end = self._live, end_of(over)
        used = live.count(over.usage)
        message = self._message(over, end)
        steps = [step for step in (self._message_step, self._calls.step_id) if step]
        if steps:
            live.change_step(steps[-1], usage=used)
        calls = self._calls.finish(over.partial)
        self._last = frames.event("thread.run.cancelling", {**live.run, "status": "cancelling"}) * end.is_cancel
        if self._message_step:
            self._last += frames.event(f"thread.message.{shown(message)['status']}", shown(message))
        if end.status == "completed" and calls:
            self._wait_for(calls, over)
        else:
            live.end(end.status, over.wall, **end.details)
            self._last += b"".join(frames.step_event(live.step(step)) for step in steps)
        self._last += frames.run_event(live.run) + frames.DONE
        items: list[Item] = [live.step_item(live.step(step)) for step in steps]
        return Stored(message.status, message.text, message.content, items=(*items, live.run_item()))

    def _wait_for(self, calls: Sequence[dict[str, Any]], over: Over) -> None:
        """What was said is complete, but the run goes on with the results of its tool calls."""
        live = self._live
        if self._message_step:
            self._last += frames.step_event(live.end_step(self._message_step, "completed", over.wall))
        live.require(calls, over.partial.text())

    def _message(self, over: Over, end: End) -> Message:
        text, refusal = over.partial.text(), over.partial.refusal()
        kept = dict(details(self._answer))
        if end.reason is not None:
            kept["reason"] = end.reason
        if DeltaKind.REFUSAL in self._parts:
            blocks = {
                DeltaKind.TEXT: text_part(text),
                DeltaKind.REFUSAL: {"type": "refusal", "refusal": refusal},
            }
            kept["parts"] = [blocks[kind] for kind in self._parts]
        return Message(
            id=self._answer.id,
            identity=self._answer.identity,
            dialect=self._answer.dialect,
            role=self._answer.role,
            created_at=self._answer.created_at,
            status=end.message_status if self._parts else MessageStatus.COMPLETED,
            thread_id=self._answer.thread_id,
            ended_at=over.wall,
            text=text or refusal,
            content=kept,
        )

    def ending(self, over: Over) -> bytes:  # noqa: ARG002 decided when it was stored
        """The events that end the message, the step and the run; then `[DONE]`."""
        return self._last

    def answer(self, over: Over) -> bytes:  # noqa: ARG002 decided when it was stored
        """The run."""
        return json.dumps(self._live.run).encode()

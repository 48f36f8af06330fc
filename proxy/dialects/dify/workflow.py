"""What a workflow app says of one generation: a run of one node, the model, with its start, its text and its end.

Source: Dify's API documentation and server source. Every id is derived from the generation's own.
"""

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from proxy.core.deltas import Delta, DeltaKind
from proxy.core.generation import Facts
from proxy.core.lifecycle import Cause
from proxy.dialects.dify import frames
from proxy.dialects.dify.turn import Turn
from proxy.engine.translating.translation import KeepAlive, Over, Stored

NODE: Final = "llm"
STOPPED: Final = {
    Cause.CLIENT: "Stopped by user.",
    Cause.OPERATOR: "Stopped by user.",
    Cause.SHUTDOWN: "Stopped: the server is shutting down.",
}
"""Why a run was stopped; the first sentence is Dify's own, whoever it was that asked."""
STOPPED_BY_A_RULE: Final = "Stopped by a rule of the server."

_HOLE: Final = "\0"


class WorkflowTranslation:
    """A run of a workflow app."""

    keep_alive: KeepAlive = frames.PING

    def __init__(self, turn: Turn) -> None:
        """`turn` has the run's inputs."""
        self._turn = turn
        self._head: dict[str, Any] = {}
        self._run: dict[str, Any] = {}
        self._node: dict[str, Any] = {}
        self._piece = b"", b""

    def begin(self, facts: Facts) -> bytes:
        """`workflow_started` and `node_started`, at once: with them the client learns the task id."""
        run_id, created, inputs = facts.message_id, int(facts.started_wall), dict(self._turn.inputs)
        self._head = {"task_id": facts.task_id, "workflow_run_id": run_id}
        self._run = {"id": run_id, "workflow_id": str(uuid5(NAMESPACE_URL, facts.route)), "created_at": created}
        self._node = {
            "id": str(uuid5(NAMESPACE_URL, f"{run_id}/{NODE}")),
            "node_id": NODE,
            "node_type": NODE,
            "title": "LLM",
            "index": 1,
            "predecessor_node_id": None,
            "inputs": inputs,
            "created_at": created,
        }
        chunk = {"text": _HOLE, "from_variable_selector": [NODE, "text"]}
        self._piece = frames.growing({"event": "text_chunk", **self._head, "data": chunk}, _HOLE)
        return self._event("workflow_started", {**self._run, "inputs": inputs}) + self._event(
            "node_started", self._node
        )

    def answered(self, now: float) -> bytes:  # noqa: ARG002 nothing is said then
        """Nothing."""
        return b""

    def deltas(self, deltas: Sequence[Delta], now: float) -> bytes:  # noqa: ARG002 times are the run's own
        """A `text_chunk` for each piece of text."""
        before, behind = self._piece
        return b"".join(
            before + json.dumps(delta.text).encode() + behind
            for delta in deltas
            if delta.kind is DeltaKind.TEXT and delta.text
        )

    def ending(self, over: Over) -> bytes:
        """`node_finished` and `workflow_finished`: succeeded, stopped or failed."""
        node = {
            **self._node,
            "process_data": None,
            "outputs": _node_outputs(over),
            **_result(over),
            "execution_metadata": {"total_tokens": frames.total(over.usage), **frames.total_price(over.priced)},
            "files": [],
        }
        finished = self._event("workflow_finished", {**self._finished(over), "files": []})
        return self._event("node_finished", node) + finished

    def answer(self, over: Over) -> bytes:
        """The whole run."""
        return json.dumps({**self._head, "data": self._finished(over)}).encode()

    def stored(self, over: Over) -> Stored:
        """The run as far as it came."""
        return frames.stored(over, self._turn)

    def _event(self, name: str, data: dict[str, Any]) -> bytes:
        return frames.event({"event": name, **self._head, "data": data})

    def _finished(self, over: Over) -> dict[str, Any]:
        outputs = {} if over.refusal is not None else {"text": over.partial.text()}
        counts = {"total_tokens": frames.total(over.usage), "total_steps": 1}
        return {**self._run, "outputs": outputs, **_result(over), **counts}


def _node_outputs(over: Over) -> dict[str, Any]:
    if over.refusal is not None:
        return {}
    reason = over.partial.finish_reasons.get(0)
    return {"text": over.partial.text(), "usage": frames.usage(over), "finish_reason": reason}


def _result(over: Over) -> dict[str, Any]:
    """How a node or a run ended, and when."""
    status, error = "succeeded", None
    if over.refusal is not None:
        status, error = "failed", over.refusal.message
    elif over.cause is not None:
        status, error = "stopped", STOPPED.get(over.cause, STOPPED_BY_A_RULE)
    return {
        "status": status,
        "error": error,
        "elapsed_time": round(over.elapsed, 3),
        "finished_at": int(over.wall),
    }

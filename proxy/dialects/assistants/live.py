"""A run while it lives: its object, its steps, its tool rounds. Only here does a run go from one status to the next.

Source: OpenAI's API reference and guide (run lifecycle). Objects are replaced, never changed, so whoever has one may
keep it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.conversation import Item
from proxy.core.usage import Usage
from proxy.dialects.assistants.ids import NAME, STEP, fresh
from proxy.engine.translating.run import Run
from proxy.stores.conversations.port import Conversations

RUN_KIND: Final = "run"
STEP_KIND: Final = "step"
TERMINAL: Final = frozenset({"cancelled", "failed", "completed", "incomplete", "expired"})
STEP_STATUS: Final = {"incomplete": "completed"}
"""What a run's end makes of a step where the API has no such word for steps."""
ENDED_AT: Final = {"cancelled": "cancelled_at", "failed": "failed_at", "completed": "completed_at"}
STEP_ENDED_AT: Final = {**ENDED_AT, "expired": "expired_at"}
DIED: Final = {"code": "server_error", "message": "The server ended while the run was in progress."}


@dataclass(slots=True)
class LiveRun:
    """One run. `run` and `steps` are as the API shows them."""

    identity: str
    conversations: Conversations
    run: dict[str, Any]
    created_at: float
    """Seconds since the epoch, exactly."""
    model_options: Mapping[str, Any] = field(default_factory=dict)
    """What was said of how the model is to answer, which the run does not show as it was said."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """What the model called, and what came back, in the upstream's words."""
    said: str = ""
    """What it said beside the calls that wait for their results."""
    size: int = 0
    """Characters of the run, as it began."""
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.run["id"])

    @property
    def status(self) -> str:
        """Where it is."""
        return str(self.run["status"])

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow."""
        return self.status in TERMINAL

    # Statuses.

    def queue(self) -> None:
        """It waits for the model."""
        self.run = {**self.run, "status": "queued", "required_action": None}

    def begin(self, now: float) -> None:
        """The model works on it."""
        self.run = {**self.run, "status": "in_progress", "started_at": self.run["started_at"] or int(now)}

    def require(self, calls: Sequence[Mapping[str, Any]], said: str) -> None:
        """It waits for the results of these tool calls, beside which the model said something, or nothing."""
        action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [*map(_called, calls)]}}
        self.run = {**self.run, "status": "requires_action", "required_action": action}
        self.said = said

    def end(self, status: str, now: float, **more: Any) -> None:
        """It is over, and with it the steps that were not."""
        times = {ENDED_AT[status]: int(now)} if status in ENDED_AT else {}
        ended = {"status": status, "required_action": None, "expires_at": None, "usage": self._usage(), **times, **more}
        self.run = {**self.run, **ended}
        error = self.run["last_error"]
        for step in [each for each in self.steps if each["status"] == "in_progress"]:
            self.end_step(step["id"], STEP_STATUS.get(status, status), now, last_error=error)
        self.rounds.clear()

    def rounds_with(self, results: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The tool rounds with one more: the step whose tool calls have their results, as the upstream wants it."""
        calls = results["step_details"]["tool_calls"]
        asked = {"role": "assistant", "content": self.said or None, "tool_calls": [*map(_called, calls)]}
        came = [
            {"role": "tool", "tool_call_id": call["id"], "content": call["function"]["output"] or ""} for call in calls
        ]
        return [*self.rounds, asked, *came]

    def count(self, usage: Usage) -> dict[str, int] | None:
        """Add what one generation used; gives that as the API shows it, None where it is not known."""
        if usage.total_tokens is None:
            self.prompt_tokens = self.completion_tokens = None
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        if self.prompt_tokens is not None and self.completion_tokens is not None:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens
        return _usage(usage.prompt_tokens, usage.completion_tokens)

    def _usage(self) -> dict[str, int] | None:
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return None if prompt is None or completion is None else _usage(prompt, completion)

    # Steps.

    def add_step(self, now: float, step_details: dict[str, Any]) -> dict[str, Any]:
        """A new step in progress."""
        step = {
            "id": fresh(STEP),
            "object": "thread.run.step",
            "created_at": int(now),
            "assistant_id": self.run["assistant_id"],
            "thread_id": self.run["thread_id"],
            "run_id": self.id,
            "type": step_details["type"],
            "status": "in_progress",
            "step_details": step_details,
            "last_error": None,
            "expired_at": None,
            "cancelled_at": None,
            "failed_at": None,
            "completed_at": None,
            "metadata": {},
            "usage": None,
        }
        self.steps.append(step)
        return step

    def step(self, step_id: str) -> dict[str, Any]:
        """The step with this id."""
        return next(step for step in self.steps if step["id"] == step_id)

    def change_step(self, step_id: str, **changes: Any) -> dict[str, Any]:
        """Change a step."""
        place = next(place for place, step in enumerate(self.steps) if step["id"] == step_id)
        self.steps[place] = changed = {**self.steps[place], **changes}
        return changed

    def end_step(self, step_id: str, status: str, now: float, *, last_error: Any = None) -> dict[str, Any]:
        """A step is over."""
        error = last_error
        if error is not None and error["code"] == "invalid_prompt":  # steps don't have that code
            error = {**error, "code": "server_error"}
        times = {STEP_ENDED_AT[status]: int(now)}
        return self.change_step(step_id, status=status, last_error=error, **times)

    # As it is kept.

    def run_item(self, run: dict[str, Any] | None = None) -> Item:
        """The run as it is kept: as it is now, or as it will be."""
        body = self.run if run is None else run
        return Item(
            id=self.id,
            identity=self.identity,
            dialect=NAME,
            kind=RUN_KIND,
            created_at=self.created_at,
            body=body,
            thread_id=body["thread_id"],
            parent=body["thread_id"],
            is_open=body["status"] not in TERMINAL,
        )

    def step_item(self, step: dict[str, Any]) -> Item:
        """A step as it is kept."""
        return Item(
            id=step["id"],
            identity=self.identity,
            dialect=NAME,
            kind=STEP_KIND,
            created_at=float(step["created_at"]),
            body=step,
            thread_id=self.run["thread_id"],
            parent=self.id,
            is_open=step["status"] == "in_progress",
        )

    def waiting_calls(self) -> dict[str, Any] | None:
        """The step whose tool calls have no results yet."""
        found = [step for step in self.steps if step["type"] == "tool_calls" and step["status"] == "in_progress"]
        return found[-1] if found else None


def _called(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call without its result."""
    function = {name: call["function"][name] for name in ("name", "arguments")}
    return {"id": call["id"], "type": "function", "function": function}


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def live_of(run: Run | None) -> LiveRun | None:
    """What a run of the engine's is here; None: it is none of ours."""
    found = None if run is None else run.notes.get(NAME)
    return found if isinstance(found, LiveRun) else None


def died(body: Mapping[str, Any]) -> dict[str, Any]:
    """A kept object of a run that was left open: its process died."""
    if body["status"] in TERMINAL:
        return dict(body)
    more: dict[str, Any] = {"status": "failed", "failed_at": body["created_at"], "last_error": DIED}
    if body["object"] == "thread.run":
        more |= {"expires_at": None, "required_action": None}
    return {**body, **more}

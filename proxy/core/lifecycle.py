"""The life-cycle of a generation, as tables. All rules about what may follow what are in this file.

Two facts never change once written: the first stop that took effect, and the outcome. Whatever comes later
(a second stop, a broken upstream, a reader that leaves) changes nothing.
"""

from enum import StrEnum


class Phase(StrEnum):
    """Where a generation is on its way, and where a stop meets it."""

    QUEUED = "queued"
    CONNECTING = "connecting"
    WAITING = "waiting"
    STREAMING = "streaming"
    FINISHED = "finished"


class Outcome(StrEnum):
    """How a generation ended; `RUNNING` while it lives."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    CLIENT_GONE = "client_gone"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"


class Cause(StrEnum):
    """Who asked for the stop."""

    CLIENT = "client"
    OPERATOR = "operator"
    DISCONNECT = "disconnect"
    DEADLINE = "deadline"
    BUDGET = "budget"
    SHUTDOWN = "shutdown"


class CancelResult(StrEnum):
    """What a cancel really achieved, as its receipt says it."""

    STOPPED = "stopped"
    STOPPING = "stopping"
    ALREADY_FINISHED = "already_finished"


class OnDisconnect(StrEnum):
    """What the owner of a route wants when the last reader leaves."""

    CANCEL = "cancel"
    FINISH = "finish"
    LINGER = "linger"


PHASE_AFTER: dict[Phase, frozenset[Phase]] = {
    Phase.QUEUED: frozenset({Phase.CONNECTING, Phase.FINISHED}),
    Phase.CONNECTING: frozenset({Phase.WAITING, Phase.FINISHED}),
    Phase.WAITING: frozenset({Phase.STREAMING, Phase.FINISHED}),
    Phase.STREAMING: frozenset({Phase.FINISHED}),
    Phase.FINISHED: frozenset(),
}

OUTCOME_OF: dict[Cause, Outcome] = {
    Cause.CLIENT: Outcome.CANCELLED,
    Cause.OPERATOR: Outcome.CANCELLED,
    Cause.BUDGET: Outcome.CANCELLED,
    Cause.SHUTDOWN: Outcome.CANCELLED,
    Cause.DISCONNECT: Outcome.CLIENT_GONE,
    Cause.DEADLINE: Outcome.TIMED_OUT,
}

ASKED_FOR: frozenset[Cause] = frozenset({Cause.CLIENT, Cause.OPERATOR})
"""The causes a person stands behind: repeating such a stop gives its first answer again."""


class RunState(StrEnum):
    """Where a run is: what a dialect calls a run, a response or a turn."""

    WORKING = "working"
    """A model call is running, or about to."""
    WAITING = "waiting"
    """No model call runs: the caller is to bring the results of its tools."""
    ENDED = "ended"
    STOPPED = "stopped"


RUN_AFTER: dict[RunState, frozenset[RunState]] = {
    RunState.WORKING: frozenset({RunState.WAITING, RunState.ENDED, RunState.STOPPED}),
    RunState.WAITING: frozenset({RunState.WORKING, RunState.ENDED, RunState.STOPPED}),
    RunState.ENDED: frozenset(),
    RunState.STOPPED: frozenset(),
}

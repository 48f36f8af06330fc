"""The streaming calls that are made for the checks, and what they are known by."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.cli.doctor.front import Front
from proxy.cli.doctor.seen import Record, Seen
from proxy.cli.doctor.stream import Stream

PROMPT: Final = "Write the numbers from one to three hundred in words, one on each line, and nothing else."
SAFETY_SECONDS: Final = 120
"""So long a call may last at most, should nothing else end it."""

CLOSE_SECONDS: Final = 1.0
_RUNNING: Final = "running"


@dataclass(slots=True)
class Call:
    """One call. `chosen` is the id that we asked for, `user` names it where that did not arrive."""

    stream: Stream
    chosen: str
    user: str
    known_as: str | None = None
    """The id by which the proxy knows it; None until that is known."""

    @property
    def told_id(self) -> str | None:
        """The id in the answer's head."""
        return self.stream.headers.get("x-task-id")

    def find(self, seen: Seen) -> Record | None:
        """Its record as it is now, whatever became of its id on the way."""
        if self.known_as is not None:
            return seen.record(self.known_as)
        record = seen.record(self.told_id or self.chosen) or seen.of_user(self.user)
        if record is not None:
            self.known_as = str(record["task_id"])
        return record


@dataclass(slots=True)
class Calls:
    """Makes calls, and leaves none running."""

    front: Front
    route: str
    made: list[Call] = field(default_factory=list)

    def begin(self, model: str) -> Call:
        """Ask for a long answer, as a stream."""
        name = f"quell-doctor-{secrets.token_hex(8)}"
        body: Mapping[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": PROMPT}],
            "stream": True,
            "user": name,
        }
        headers = {
            "X-Task-Id": name,
            "X-Max-Seconds": str(SAFETY_SECONDS),
            "Accept": "text/event-stream",
            "Accept-Encoding": "gzip",  # as SDKs and browsers do
        }
        path = f"{self.route}/chat/completions"
        call = Call(Stream(self.front, path, body, headers, float(SAFETY_SECONDS)), name, name)
        self.made.append(call)
        return call

    def end(self, *views: Seen) -> None:
        """Leave every call, and stop what runs on, by whoever of these may and can."""
        for call in self.made:
            if not call.stream.is_over:
                call.stream.drop()
            for seen in views:
                if is_live(call.find(seen)) and call.known_as is not None:
                    seen.stop(call.known_as)


def is_live(record: Record | None) -> bool:
    """Whether a record says that its generation runs."""
    return record is not None and record.get("outcome") == _RUNNING


def wait_until_noticed(call: Call, seen: Seen, since: float, patience: float) -> tuple[float | None, Record | None]:
    """Wait until the proxy ends a call; gives the seconds after `since`, None for never, and its record.

    Once it has begun to, it is given `CLOSE_SECONDS` more, so that the record is the last one, if it does not read on.
    """
    noticed = record = None
    while True:
        record = call.find(seen) or record
        passed = time.monotonic() - since
        if record is not None and noticed is None and record.get("cause") is not None:
            noticed = passed
        if record is not None and not is_live(record):
            return (passed if noticed is None else noticed), record
        if passed > (patience if noticed is None else noticed + CLOSE_SECONDS):
            return noticed, record
        time.sleep(seen.pause)

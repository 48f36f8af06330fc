"""The proxy's own view of the calls: through its admin API, or else through the front, as their owner."""

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from proxy.cli.admin_client import AdminClient, CommandError, Exit, escaped
from proxy.cli.doctor.front import Front, FrontError

_OK: Final = 200
_RECENT: Final = "5"

Record = Mapping[str, Any]


class Seen(Protocol):
    """Where a call's record is looked up."""

    pause: float
    """Seconds between two looks."""

    def record(self, any_id: str) -> Record | None:
        """The record as it is now; None when it is not known, or can't be seen."""
        ...

    def of_user(self, user: str) -> Record | None:
        """The newest of this end user."""
        ...

    def stop(self, any_id: str) -> None:
        """Stop it, as well as that goes."""
        ...


class SeenByAdmin:
    """Asks the admin API."""

    pause = 0.02

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    def record(self, any_id: str) -> Record | None:
        """See `Seen`."""
        with contextlib.suppress(CommandError):
            return self._client.get(f"/generations/{escaped(any_id)}")
        return None

    def of_user(self, user: str) -> Record | None:
        """See `Seen`."""
        with contextlib.suppress(CommandError):
            for record in self._client.get("/generations", {"user": user, "limit": "1"})["data"]:
                return dict(record)
        return None

    def stop(self, any_id: str) -> None:
        """See `Seen`."""
        with contextlib.suppress(CommandError):
            self._client.post(f"/generations/{escaped(any_id)}/cancel", {"reason": "quell doctor cleans up"})


class SeenThroughFront:
    """Asks the proxy's control API through the front, as whoever made the calls."""

    pause = 0.2

    def __init__(self, front: Front, route: str, patience: float) -> None:
        self._front, self._route, self._patience = front, route, patience

    def record(self, any_id: str) -> Record | None:
        """See `Seen`."""
        told = self._get(f"/generations/{any_id}")
        return told if told is not None and "outcome" in told else None

    def of_user(self, user: str) -> Record | None:
        """See `Seen`."""
        told = self._get(f"/generations?limit={_RECENT}") or {}
        return next((record for record in told.get("data", ()) if record.get("user") == user), None)

    def stop(self, any_id: str) -> None:
        """See `Seen`."""
        with contextlib.suppress(FrontError):
            self._front.call("POST", f"{self._route}/generations/{any_id}/cancel", {}, patience=self._patience)

    def _get(self, path: str) -> Record | None:
        with contextlib.suppress(FrontError):
            answer = self._front.call("GET", self._route + path, patience=self._patience)
            told = answer.json()
            return told if answer.status == _OK and isinstance(told, dict) else None
        return None


class Watch:
    """When each event of a call left the proxy: its events are read at the admin listener, past the front."""

    def __init__(self, client: AdminClient, message_id: str) -> None:
        self._client, self._message_id = client, message_id
        self.times: dict[int, float] = {}
        """By the number of the event, from 1."""
        self.began = time.monotonic()
        self.refusal = ""
        """Why nothing is seen, if so."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            for event in self._client.events(f"/generations/{escaped(self._message_id)}/events", {}):
                if event.id and event.id.isdigit():
                    self.times[int(event.id)] = time.monotonic()
        except CommandError as error:
            if not self.times:
                self.refusal = (
                    str(error)
                    if error.code is not Exit.NOT_ALLOWED
                    else "the admin token may not see what models wrote"
                )

"""Records for the tests of the ledger."""

from typing import Any

from proxy.core.record import Record


def a_record(uid: str = "u1", **facts: Any) -> Record:
    """A running record; what a test does not name is made from the uid."""
    known: dict[str, Any] = {
        "uid": uid,
        "identity": "acme",
        "task_id": f"task-{uid}",
        "message_id": f"message-{uid}",
        "dialect": "openai",
        "route": "/v1",
        "upstream": "openai",
        "started_at": 1000.0,
        "key_id": "acme",
        "replica": "one",
    }
    return Record(**(known | facts))

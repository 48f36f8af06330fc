"""Ids: unguessable, without counters or time in them (122 random bits each)."""

import uuid


def new_id() -> str:
    """A fresh id for a generation, an answer or a record, as a UUID in text form."""
    return str(uuid.uuid4())

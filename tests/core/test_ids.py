"""Tests of proxy.core.ids: ids are random UUIDs in text form."""

import uuid

from proxy.core.ids import new_id


def test_an_id_is_a_random_uuid() -> None:
    """Version 4 of RFC 9562, in its usual spelling, and never the same twice."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    for text in ids:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)

"""Tests of proxy.core.ids: ids are random UUIDs in text form."""

import uuid

from proxy.core.ids import new_id, public_name


def test_an_id_is_a_random_uuid() -> None:
    """Version 4 of RFC 9562, in its usual spelling, and never the same twice."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    for text in ids:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_an_identity_is_shown_by_a_name_that_opens_nothing() -> None:
    """A key is shown by its id, any other caller by the beginning of a hash."""
    assert [public_name(name) for name in ("key:acme", "0123456789abcdef" * 4, "anonymous")] == [
        "acme",
        "0123456789ab",
        "anonymous",
    ]

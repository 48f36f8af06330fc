"""Points in time as people write them: so long ago, a day, or a date with a time."""

from datetime import UTC, datetime

from proxy.core.settings.scalar_types import parse_duration


def parse_moment(text: str, now: float) -> float:
    """Seconds since the epoch of `7d` (before `now`), `2026-11-01` (its beginning in UTC), `2026-11-01T12:30:00Z`.

    A time without an offset is UTC.

    Raises:
        ValueError: it is none of these.
    """
    if text[:1].isdigit() and "-" not in text:
        return now - parse_duration(text)
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("expected how long ago (24h, 7d), a day (2026-11-01) or a time (2026-11-01T12:30Z)") from None

"""Records of which only the beginning is known: whoever runs them can't be asked, or died.

A generation shares its record when it begins, in the directory and in the shared ledger. What that says of its length,
its text and where it is was true for a moment; for whoever reads it later it is unknown, so None and never 0.
"""

from dataclasses import replace

from proxy.core.lifecycle import Outcome, Phase
from proxy.core.record import Record

_LEFT_OPEN = frozenset({Outcome.RUNNING, Outcome.INTERRUPTED})


def as_begun(record: Record) -> Record:
    """A record as others keep it while it runs: without what has changed when they read it."""
    if record.outcome is not Outcome.RUNNING:
        return record
    return replace(record, elapsed_seconds=None, characters=None, text=None)


def is_unconfirmed(record: Record) -> bool:
    """Whether it ran when others last heard of it, and nobody says that it runs now."""
    return record.outcome is Outcome.RUNNING and record.elapsed_seconds is None


def phase_of(record: Record) -> Phase | None:
    """Where it is, or was when it ended; None: nothing but its beginning is known."""
    is_begun = record.outcome in _LEFT_OPEN and record.elapsed_seconds is None and record.phase is Phase.QUEUED
    return None if is_begun else record.phase


def with_newer(kept: Record, about: Record) -> Record:
    """A record of which the ledger has only the beginning, with what the directory heard of it later."""
    if kept.uid != about.uid or phase_of(kept) is not None:
        return kept
    return replace(
        kept,
        phase=about.phase,
        upstream_id=kept.upstream_id or about.upstream_id,
        upstream_model=kept.upstream_model or about.upstream_model,
        first_token_at=kept.first_token_at or about.first_token_at,
    )

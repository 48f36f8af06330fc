"""What a process that died left running, in progress or open, ended: as its stop had said, else as `interrupted`."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, delete, func, select, update

from proxy.core.conversation import MessageStatus
from proxy.core.lifecycle import OUTCOME_OF, Cause, Outcome, Phase
from proxy.core.record import TextPolicy
from proxy.stores.conversations.sql import IN_PROGRESS, OPEN
from proxy.stores.ledger.statements import SETTLED
from proxy.stores.tables import deletion, generation, generation_text, item, message, message_text

_RUNNING: Final = generation.c.outcome == Outcome.RUNNING.value


def end_stopped(connection: Connection, *, text: TextPolicy) -> list[tuple[str, str, str]]:
    """End every running record that a stop had released already, as its stop says; gives route, upstream, outcome.

    Its upstream was only read on for its usage, so all that counts is there, priced: it is settled. Runs in the
    caller's transaction, before `interrupt_running`.
    """
    released = generation.c.cause.is_not(None) | (generation.c.phase == Phase.FINISHED.value)
    columns = (generation.c[name] for name in ("uid", "route", "upstream", "cause", "characters"))
    found = connection.execute(select(*columns).where(_RUNNING, released)).all()
    ended: list[tuple[str, str, str]] = []
    for uid, route, upstream, cause, characters in found:
        outcome = Outcome.COMPLETED if cause is None else OUTCOME_OF[Cause(cause)]
        kept = _pieces(connection, uid)
        has_text = text == "all" or (text == "partial" and outcome is not Outcome.COMPLETED)
        was_wiped = bool(characters) and not kept
        at = generation.c
        connection.execute(
            update(generation)
            .where(at.uid == uid, _RUNNING)
            .values(
                outcome=outcome.value,
                ended_at=func.max(at.started_at + at.elapsed_seconds, func.coalesce(at.first_token_at, at.started_at)),
                text="".join(kept) if has_text and not was_wiped else None,
            )
        )
        connection.execute(delete(generation_text).where(generation_text.c.uid == uid))
        connection.exec_driver_sql(SETTLED, (uid,))
        ended.append((route, upstream, outcome.value))
    return ended


def interrupt_running(connection: Connection, *, text: TextPolicy, now: float) -> list[tuple[str, str]]:
    """End every running record at `now`, with what its pieces hold, and delete all pieces; gives route and upstream.

    Runs in the caller's transaction, so that a kill in the middle changes nothing. The phase stays what it was. One
    of which nothing was heard is settled; the others are once they are counted and priced.
    """
    columns = (generation.c[name] for name in ("uid", "route", "upstream", "completion_tokens", "characters"))
    found = connection.execute(select(*columns).where(_RUNNING)).all()
    for uid, _, _, tokens, characters in found:
        pieces = _pieces(connection, uid)
        joined = "".join(pieces)
        is_counted = tokens is not None or not (joined or characters)
        if not is_counted:
            kept = max(characters or 0, len(joined))
        else:  # without kept pieces nobody knows how much there was
            kept = len(joined) if pieces or text != "none" else None
        connection.execute(
            update(generation)
            .where(generation.c.uid == uid, _RUNNING)
            .values(
                outcome=Outcome.INTERRUPTED.value,
                # A clock that was set back since must not end it before it began.
                ended_at=func.max(now, generation.c.started_at, func.coalesce(generation.c.first_token_at, now)),
                elapsed_seconds=None,  # when the process died, nobody knows
                text=None if text == "none" else joined,
                characters=kept,
            )
        )
        if tokens is None and is_counted:
            connection.exec_driver_sql(SETTLED, (uid,))
    connection.execute(delete(generation_text))
    return [(route, upstream) for _, route, upstream, _, _ in found]


def _pieces(connection: Connection, uid: str) -> Sequence[str]:
    """The text that came of a running record, in its order."""
    pieces = select(generation_text.c.piece).where(generation_text.c.uid == uid)
    return connection.scalars(pieces.order_by(generation_text.c.offset)).all()


def interrupt_messages(connection: Connection, *, now: float) -> None:
    """End every message in progress at `now`, with what its pieces hold, and delete all pieces.

    Runs in the caller's transaction, as above. Its thread keeps the time of its last change: this start was none.
    """
    for uid, begun in connection.execute(select(message.c.uid, message.c.text).where(IN_PROGRESS)).all():
        pieces = connection.scalars(
            select(message_text.c.piece).where(message_text.c.message == uid).order_by(message_text.c.offset)
        )
        connection.execute(
            update(message)
            .where(message.c.uid == uid)
            .values(status=MessageStatus.INTERRUPTED.value, ended_at=now, text=begun + "".join(pieces))
        )
    connection.execute(delete(message_text))


def interrupt_items(connection: Connection) -> None:
    """Close every open item; that it was cut off stands in the item until somebody changes it.

    Runs in the caller's transaction, as above.
    """
    connection.execute(update(item).where(OPEN).values(is_open=0, is_interrupted=1))


def forget_deletions(connection: Connection) -> None:
    """Delete the notes of deletions whose answer nobody waits for any more."""
    connection.execute(delete(deletion))

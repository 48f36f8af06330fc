"""Does the ledger's file hold what it promises? Looks only; the proxy may run meanwhile.

All of it is read in one transaction, so that what is compared is of one moment. Each finding names a rule, the record
and what it means for a bill.
"""

import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import quote

from proxy.core.called import called
from proxy.core.record import TextPolicy
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.lock_file import is_held
from proxy.stores.ledger.rules import CLOSED_RULES, POLICY_RULES, ROW_RULES, TABLE_RULES, Rule
from proxy.stores.tables import APPLICATION_ID, SCHEMA

_AT_ONCE: Final = 10_000
"""Records looked at between two signs of progress: a tenth of a second."""

_MOST: Final = 10_000
"""Findings that are kept; a file with more of them is beyond a list."""

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: the rule's name, what it means, and whose record it is, where it is one's."""

    rule: str
    meaning: str
    task_id: str | None = None
    uid: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and what was found; `in_use`: a running process holds the ledger."""

    records: int
    in_use: bool
    findings: list[Finding]


def verify_file(path: Path, *, text: TextPolicy = "all", progress: Progress = lambda _done, _all: None) -> Verified:
    """Look at everything in the file. It is not changed.

    Args:
        path: the ledger's file.
        text: whose text there may be.
        progress: is told how far this is.

    Raises:
        LedgerOpenError: it is no ledger, is of another version, or can't be read at all.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        held_before = is_held(lock)
        with reading(path) as db:
            _refuse_other_versions(path, db)
            in_use = held_before or is_held(lock)
            rules = [*ROW_RULES, *(() if in_use else CLOSED_RULES)]
            if text in POLICY_RULES:
                rules.append(POLICY_RULES[text])
            return _looked_at(db, rules, in_use=in_use, progress=progress)
    except (sqlite3.Error, OSError) as error:
        raise LedgerOpenError(f"{path}: can't be read ({error}){_way_out(path, error)}") from error


def _way_out(path: Path, error: Exception) -> str:
    """What to do about a file that SQLite finds to be broken, or no file of its own."""
    if getattr(error, "sqlite_errorcode", None) not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return ""
    recover = f"`{called()} ledger recover {shlex.quote(str(path))} --to NEW`"
    return f". If it was a ledger, restore a backup, or save what can be read with {recover}"


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can't write, on one moment of the file.

    Raises:
        sqlite3.Error: it can't be read.
    """
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)) as db:
        db.execute("PRAGMA query_only = ON")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("BEGIN")
        yield db


def refuse_foreign(path: Path, db: sqlite3.Connection) -> None:
    """Look whether it is a ledger at all, of whatever version.

    Raises:
        LedgerOpenError: it is none.
    """
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        why = "is no ledger of this program" if path.stat().st_size else "is empty, so it is no ledger (yet)"
        raise LedgerOpenError(f"{path}: {why}. Nothing was changed")


def _refuse_other_versions(path: Path, db: sqlite3.Connection) -> None:
    refuse_foreign(path, db)
    found = db.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None or found[0] != SCHEMA:
        other = "none" if found is None else found[0]
        raise LedgerOpenError(
            f"{path}: has schema {other}, this program looks at schema {SCHEMA}. A start of the proxy brings an older "
            "ledger up to it; a newer one needs the program that wrote it"
        )


def _looked_at(db: sqlite3.Connection, rules: list[Rule], *, in_use: bool, progress: Progress) -> Verified:
    asked = "SELECT coalesce(min(rowid), 0), coalesce(max(rowid), -1), count(*) FROM generation"
    first, last, records = db.execute(asked).fetchone()
    parts = [
        _damage(db),
        *(_broken_rows(db, rules, start) for start in range(first, last + 1, _AT_ONCE)),
        *(_broken_tables(db, rule) for rule in TABLE_RULES),
    ]
    findings: list[Finding] = []
    for done, part in enumerate(parts):
        progress(done, len(parts))
        findings += islice(part, _MOST - len(findings))
    progress(len(parts), len(parts))
    return Verified(records, in_use, findings)


def _damage(db: sqlite3.Connection) -> Iterator[Finding]:
    for (found,) in db.execute("PRAGMA integrity_check(100)"):
        if found != "ok":
            yield Finding("sound", f"the database is damaged: {found}")


def _broken_rows(db: sqlite3.Connection, rules: list[Rule], start: int) -> Iterator[Finding]:
    """What is broken in the next records, all rules in one pass over them."""
    flags = ", ".join(f"coalesce(({rule.broken}), 0)" for rule in rules)
    broken = " OR ".join(f"({rule.broken})" for rule in rules)
    asked = f"SELECT uid, task_id, {flags} FROM generation WHERE rowid BETWEEN ? AND ? AND ({broken})"  # noqa: S608 the rules are our own text
    for uid, task_id, *flagged in db.execute(asked, (start, start + _AT_ONCE - 1)):
        for rule, is_broken in zip(rules, flagged, strict=True):
            if is_broken:
                yield Finding(rule.name, rule.meaning, task_id, uid)


def _broken_tables(db: sqlite3.Connection, rule: Rule) -> Iterator[Finding]:
    for uid, task_id in db.execute(rule.broken):
        yield Finding(rule.name, rule.meaning, task_id, uid)

"""Saving a damaged ledger: what is lost is what the broken page held, and what is saved is a whole ledger."""

import random
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.lifecycle import Cause, Outcome, Phase
from proxy.core.record import Record
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.recover import Recovered, recover_file
from proxy.stores.ledger.usage import UsageQuery
from proxy.stores.ledger.verify import verify_file
from support.conversations import OWNER, a_message, a_thread, an_item
from support.ledgers import a_ledger, all_written
from support.records import a_record

MANY = 120
PAGE = 4096


def over(number: int) -> Record:
    """A record that has ended, of any length."""
    return a_record(
        f"u{number}",
        outcome=Outcome.CANCELLED,
        cause=Cause.CLIENT,
        phase=Phase.STREAMING,
        ended_at=1001.0 + number,
        text=f"text {number} " * (number % 25 * 8),
        characters=7,
        user="ä" * (number % 7),
    )


async def used(path: Path) -> None:
    """A ledger with many records, one that runs, a conversation and a later truth; closed as by a kill."""
    async with a_ledger(path) as ledger:
        for number in range(MANY):
            await ledger.begin(replace(over(number), outcome=Outcome.RUNNING, ended_at=None, cause=None))
        for number in range(MANY):
            end = ledger.end(over(number))
        await end
        await ledger.begin(a_record("runs"))
        ledger.append("runs", "half")
        await all_written(ledger)
        ledger.append("runs", " an answer")
        store = ledger.conversations
        await store.add_thread(a_thread())
        await store.add_messages(a_message(text="said"))
        await store.add_items(an_item(thread_id="t1"))
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO settled (uid, revision) VALUES ('u1', 2)")
        db.execute("INSERT INTO truth (uid, revision, source, at) VALUES ('u1', 2, 'upstream', 2000.0)")
        db.execute("INSERT INTO consumer VALUES ('sink', 17)")
        db.commit()


def numbers(found: Recovered) -> dict[str, tuple[int, int | None]]:
    """Saved and lost, by table."""
    return {each.table: (each.saved, each.lost) for each in found.tables}


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything in a ledger, but for the pages it is on."""
    with closing(sqlite3.connect(path)) as db:
        names = [
            name
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name not in {"alembic_version", "deletion"}
        ]
        return {name: sorted(db.execute(f"SELECT * FROM {name}"), key=repr) for name in names}  # noqa: S608


async def test_a_sound_ledger_is_saved_as_it_is(tmp_path: Path) -> None:
    """All of it, what is in the log only too; for its owner only, and the old one stays as it was."""
    path, new = tmp_path / "q.db", tmp_path / "new.db"
    await used(path)
    with closing(sqlite3.connect(path)) as holds_the_log_open:
        holds_the_log_open.execute("PRAGMA wal_autocheckpoint = 0")
        holds_the_log_open.execute("UPDATE generation SET reason = 'in the log' WHERE uid = 'u7'")
        holds_the_log_open.commit()
        before = {file: (tmp_path / file).read_bytes() for file in ("q.db", "q.db-wal")}
        assert len(before["q.db-wal"]) > 0
        found = recover_file(path, new)
        assert {file: (tmp_path / file).read_bytes() for file in before} == before
    assert found.unreadable == 0
    assert all(lost == 0 for _, lost in numbers(found).values())
    assert contents(new) == contents(path)
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    async with a_ledger(new) as ledger:
        record = await ledger.find("acme", "runs")
        assert await ledger.conversations.find_thread(OWNER, "t1") is not None
    assert record is None or record.text == "half an answer"


async def test_a_broken_page_costs_what_it_held(tmp_path: Path) -> None:
    """S5: whichever page is overwritten, all records but those on it are saved, and what is saved is a whole ledger."""
    path, damaged = tmp_path / "q.db", tmp_path / "damaged.db"
    await used(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound, chance = path.read_bytes(), random.Random(1)
    worst = 0
    for start in range(0, len(sound), PAGE):
        damaged.write_bytes(sound[:start] + chance.randbytes(PAGE) + sound[start + PAGE :])
        new = tmp_path / f"new-{start}.db"
        saved, lost = numbers(recover_file(damaged, new))["generation"]
        worst = max(worst, MANY + 1 - saved)
        assert lost in (None, MANY + 1 - saved)
        rules = {finding.rule for finding in verify_file(new).findings}
        assert rules <= {"running_without_process", "pieces_with_gap"}, start
        new.unlink()
    assert 0 < worst < 30


async def test_flipped_bytes_are_never_taken_for_a_record(tmp_path: Path) -> None:
    """S5: bytes changed here and there may cost rows, but what is saved can be read, and no number is used again."""
    path, damaged = tmp_path / "q.db", tmp_path / "damaged.db"
    await used(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound, chance = path.read_bytes(), random.Random(2)
    for number in range(30):
        broken = bytearray(sound)
        for _ in range(20):
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(broken)
        new = tmp_path / f"new-{number}.db"
        recover_file(damaged, new)
        async with a_ledger(new) as ledger:
            await ledger.usage(UsageQuery(by=("outcome",)))
            await ledger.begin(a_record("next"))
            await ledger.end(replace(over(1), uid="next"))
        with closing(sqlite3.connect(new)) as db:
            (last,) = db.execute("SELECT number FROM settled WHERE uid = 'next'").fetchone()
            assert last > MANY - 60


async def test_a_page_cut_off_and_a_file_of_rubbish(tmp_path: Path) -> None:
    """A file that ends in the middle gives what there is of it; one with nothing of a ledger makes no file."""
    path = tmp_path / "q.db"
    await used(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 4 // 5 + 100])
    assert 0 < numbers(recover_file(path, tmp_path / "half.db"))["generation"][0] < MANY
    path.write_bytes(b"rubbish" * 5000)
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE notes (text)")
    for wrong in (path, tmp_path / "other.db"):
        with pytest.raises(LedgerOpenError, match="nothing of a ledger is left in it"):
            recover_file(wrong, tmp_path / "none.db")
    assert not list(tmp_path.glob("none.db*"))


async def test_nothing_is_overwritten_and_nobody_disturbed(tmp_path: Path) -> None:
    """A file that is there stays, a ledger in use is refused, and a refusal leaves nothing behind."""
    path, new = tmp_path / "q.db", tmp_path / "new.db"
    new.write_text("precious")
    async with a_ledger(path):
        with pytest.raises(LedgerOpenError, match="is there already"):
            recover_file(path, new)
        with pytest.raises(LedgerOpenError, match="in use by a running process"):
            recover_file(path, tmp_path / "other.db")
    with pytest.raises(LedgerOpenError, match="can't be saved"):
        recover_file(path, tmp_path / "gone" / "new.db")
    assert new.read_text() == "precious"
    assert sorted(file.name for file in tmp_path.iterdir() if "part" in file.name or "recover" in file.name) == []

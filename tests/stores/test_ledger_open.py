"""Opening: what is refused, with which words, and what the file looks like afterwards."""

import asyncio
import os
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest

from proxy.stores.ledger.errors import LedgerLockedError, LedgerOpenError
from proxy.stores.ledger.sqlite_open import open_ledger
from proxy.stores.tables import SCHEMA
from support.ledgers import a_ledger
from support.records import a_record

ROOT = Path(__file__).parents[2]
NOBODY = 65534


async def refused(path: Path) -> str:
    """The words with which this path is refused."""
    with pytest.raises(LedgerOpenError) as caught:
        async with a_ledger(path):
            pass
    return str(caught.value)


async def used(path: Path) -> None:
    """A ledger that has a few records in it."""
    async with a_ledger(path) as ledger:
        for number in range(100):
            start = ledger.begin(a_record(f"u{number}", user="x" * 200))
        await start


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://db/quell", "quell.db", ""]
)
async def test_a_url_of_another_kind_is_refused(url: str) -> None:
    """Only a file will do; the error shows both forms of the URL."""
    with pytest.raises(LedgerOpenError, match=r"expected sqlite:///relative\.db or sqlite:////absolute"):
        await open_ledger(url, text="none", keep=1.0, text_keep=1.0, now=1.0, replica="one")


async def test_a_relative_url_is_below_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes name a file relative to where the proxy was started, whatever its letters are."""
    monkeypatch.chdir(tmp_path)
    async with a_ledger(Path("a?b %20.db")) as ledger:
        await ledger.begin(a_record())
        assert await ledger.find("acme", "task-u1") == a_record()
    assert (tmp_path / "a?b %20.db").stat().st_size > 0


async def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """Database, log, index and lock have mode 0600 whatever the umask."""
    before = os.umask(0)
    try:
        async with a_ledger(tmp_path / "q.db") as ledger:
            await ledger.begin(a_record())
            for name in ("q.db", "q.db-wal", "q.db-shm", "q.db.lock"):
                assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
    finally:
        os.umask(before)


async def test_a_second_process_is_refused_and_told_who_was_first(tmp_path: Path) -> None:
    """The lock names process and replica; also through another name of the file. Covers P13."""
    (tmp_path / "link.db").symlink_to(tmp_path / "q.db")
    async with a_ledger(tmp_path / "q.db", replica="first"):
        for name in ("q.db", "link.db"):
            with pytest.raises(LedgerLockedError, match=rf"q\.db: in use by process {os.getpid()} \(replica first\)"):
                async with a_ledger(tmp_path / name):
                    pass
    async with a_ledger(tmp_path / "q.db"):
        pass


async def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    """A lock file that is left over means nothing; its pid may be somebody else's by now."""
    (tmp_path / "q.db.lock").write_text("1 other\n")
    async with a_ledger(tmp_path / "q.db"):
        assert (tmp_path / "q.db.lock").read_text() == f"{os.getpid()} one\n"


async def test_an_unreadable_holder_is_still_a_holder(tmp_path: Path) -> None:
    """A lock whose file says nothing useful is refused without a pid."""
    async with a_ledger(tmp_path / "q.db"):
        (tmp_path / "q.db.lock").write_bytes(b"\xff")
        with pytest.raises(LedgerLockedError, match="another process") as caught:
            async with a_ledger(tmp_path / "q.db"):
                pass
        assert caught.value.pid is None


async def test_others_may_read_and_back_up_meanwhile(tmp_path: Path) -> None:
    """The lock keeps writers out, not readers: a query and a backup work while the ledger is open."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        await ledger.begin(a_record())
        with (
            closing(sqlite3.connect(f"file:{tmp_path / 'q.db'}?mode=ro", uri=True)) as reader,
            closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
        ):
            assert reader.execute("SELECT task_id FROM generation").fetchall() == [("task-u1",)]
            reader.backup(copy)
            assert copy.execute("SELECT count(*) FROM generation").fetchone() == (1,)


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A path that is a folder is refused by name."""
    assert f"{tmp_path}: is a folder" in await refused(tmp_path)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that does not exist is not made: it may be a volume that was not mounted."""
    words = await refused(tmp_path / "gone" / "q.db")
    assert f"the folder {tmp_path / 'gone'} does not exist; make it" in words
    assert not (tmp_path / "gone").exists()


async def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    """An unprivileged process gets one error with the path and the remedy, not a traceback of SQLite's. Covers S4."""
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody without rights")
    program = (
        "import asyncio, os, sys\n"
        "from proxy.stores.ledger.errors import LedgerOpenError\n"
        "from proxy.stores.ledger.sqlite_open import open_ledger\n"
        f"os.setuid({NOBODY})\n"
        "try:\n"
        "    url = f'sqlite:///{sys.argv[1]}'\n"
        "    asyncio.run(open_ledger(url, text='none', keep=1, text_keep=1, now=1, replica='one'))\n"
        "except LedgerOpenError as error:\n"
        "    print(error)\n"
    )
    victim = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        str(tmp_path / "q.db"),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
    )
    words, _ = await victim.communicate()
    assert (
        f"{tmp_path / 'q.db'}: Permission denied. The ledger's file and its folder must be writable" in words.decode()
    )


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """Foreign bytes are refused and not changed."""
    (tmp_path / "q.db").write_bytes(b"precious notes" * 100)
    assert "is not an SQLite database, or its beginning is damaged" in await refused(tmp_path / "q.db")
    assert (tmp_path / "q.db").read_bytes() == b"precious notes" * 100


async def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """An SQLite file that is not ours is refused and not changed, even one with a table of our name."""
    with closing(sqlite3.connect(tmp_path / "q.db")) as other:
        other.execute("CREATE TABLE generation (x)")
    before = (tmp_path / "q.db").read_bytes()
    assert "is an SQLite database of another program" in await refused(tmp_path / "q.db")
    assert (tmp_path / "q.db").read_bytes() == before


async def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """A file made in advance (`touch`, or by a start that was killed) is used."""
    (tmp_path / "q.db").touch()
    with closing(sqlite3.connect(tmp_path / "q2.db")) as other:
        other.execute("PRAGMA journal_mode = WAL")
    for name in ("q.db", "q2.db"):
        await used(tmp_path / name)


async def test_a_damaged_page_is_refused_with_a_remedy(tmp_path: Path) -> None:
    """Each page of the file is checked; a damaged one is named before anything is written. Covers S5."""
    path = tmp_path / "q.db"
    await used(path)
    sound = path.read_bytes()
    refusals = 0
    for page in range(0, len(sound), 4096):
        damaged = sound[:page] + bytes(byte ^ 0x55 for byte in sound[page : page + 200]) + sound[page + 200 :]
        path.write_bytes(damaged)
        words = await refused(path)
        assert str(path) in words
        assert "damaged" in words or "another program" in words
        assert path.read_bytes() == damaged
        refusals += 1
    assert refusals > 5
    path.write_bytes(sound)
    await used(path)


async def test_the_schema_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """An older program does not touch what a newer one wrote; the error names both schemas. Covers S18."""
    path = tmp_path / "q.db"
    await used(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = path.read_bytes()
    words = await refused(path)
    assert f"has schema 9999, this program knows those up to {SCHEMA}" in words
    assert path.read_bytes() == before


async def test_a_database_that_stays_locked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program that holds SQLite's own lock at the start is an error that says so."""
    monkeypatch.setattr("proxy.stores.ledger.open._BUSY_TIMEOUT", 0.1)
    path = tmp_path / "q.db"
    await used(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "another program holds a lock on it" in await refused(path)
        other.execute("ROLLBACK")
    await used(path)


async def test_a_refused_file_is_not_kept_locked(tmp_path: Path) -> None:
    """After a refusal the lock is free, so that the next try with a sound file works."""
    path = tmp_path / "q.db"
    path.write_bytes(b"no database")
    await refused(path)
    path.unlink()
    await used(path)

"""The commands of `quell ledger`, as users type them: on a file, and beside a running proxy."""

import asyncio
import json
import os
import pty
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.lifecycle import Outcome, Phase
from support.chat import ask, chat_events
from support.client import RawClient
from support.ledgers import a_ledger
from support.program import config_text, environment, running_program
from support.quell import quell
from support.records import a_record
from support.scripts import sse_stream
from support.upstream import scripted_upstream
from support.wait import eventually

HOUR = 3600.0


async def used(path: Path, *ages: float) -> None:
    """A ledger with one record of each age (seconds since its end), with a text."""
    now = time.time()
    async with a_ledger(path) as ledger:
        for number, age in enumerate(ages):
            record = a_record(f"u{number}", started_at=now - age - 1)
            await ledger.begin(record)
            done = replace(record, outcome=Outcome.FAILED, error_kind="reset", phase=Phase.FINISHED)
            await ledger.end(replace(done, ended_at=now - age, text="said", characters=4))


def left(path: Path) -> list[tuple[str, str | None]]:
    """Uid and text of each record."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT uid, text FROM generation ORDER BY uid").fetchall()


async def test_verify_says_that_all_is_well(tmp_path: Path) -> None:
    """Exit code 0 and one line; the file may be named by a config file too."""
    await used(tmp_path / "quell.db", 10.0)
    (tmp_path / "quell.yaml").write_text(config_text("http://127.0.0.1:9/v1"))
    for arguments in ((), ("quell.db",), ("--config", "quell.yaml")):
        done = quell("ledger", "verify", *arguments, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("quell.db: 1 records, not in use: all is well\n")


async def test_verify_names_what_is_wrong(tmp_path: Path) -> None:
    """Exit code 1; a line for each finding with its task id, rule and meaning; the same as JSON."""
    await used(tmp_path / "q.db", 10.0, 20.0)
    with closing(sqlite3.connect(tmp_path / "q.db")) as db:
        db.execute("UPDATE generation SET error_kind = NULL WHERE uid = 'u1'")
        db.commit()
    done = quell("ledger", "verify", "q.db", folder=tmp_path)
    assert done.returncode == 1
    assert "task-u1  failed_of_nothing  it failed, and the record does not say of what" in done.stdout
    assert done.stdout.endswith("q.db: 2 records, not in use: 1 finding\n")
    found = json.loads(quell("ledger", "verify", "q.db", "-o", "json", folder=tmp_path).stdout)
    assert (found["valid"], found["records"], found["in_use"]) == (False, 2, False)
    assert [each["rule"] for each in found["findings"]] == ["failed_of_nothing"]


@pytest.mark.parametrize("doing", [("verify", "q.db"), ("purge", "q.db", "--before", "1h", "--yes")])
async def test_progress_is_for_who_waits(tmp_path: Path, doing: tuple[str, ...]) -> None:
    """A terminal on standard error sees a bar; standard output stays the result alone."""
    await used(tmp_path / "q.db", 10.0, 2 * HOUR)
    ours, theirs = pty.openpty()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "proxy", "ledger", *doing, "-o", "json"],
        cwd=tmp_path,
        env=environment(TERM="xterm"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
    )
    os.close(theirs)
    assert b"100%" in os.read(ours, 65536)
    os.close(ours)
    told = json.loads(done.stdout)
    assert told.get("valid") or told["records"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("verify",), 3, "no ledger: looked for"),
        (("verify", "gone.db"), 3, "no ledger: looked for gone.db"),
        (("verify", "notes.txt"), 1, "can't be read"),
        (("verify", "notes.txt", "--config", "quell.yaml"), 1, "not both"),
        (("verify", "--config", "gone.yaml"), 1, "gone.yaml: can't be read"),
        (("recover", "notes.txt", "--to", "notes.txt"), 1, "is there already"),
        (("recover", "gone.db", "--to", "new.db"), 2, "does not exist"),
        (("purge", "gone.db"), 3, "no ledger"),
        (("purge", "q.db", "--yes"), 1, "give --config, or say --before when"),
        (("purge", "q.db", "--before", "1d"), 2, "needs --yes"),
        (("purge", "q.db", "--before", "soon"), 2, "expected how long ago, such as 30d"),
        (("purge", "q.db", "--before", "2999-01-01"), 2, "expected a moment in the past"),
    ],
)
async def test_a_refusal_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    """Whatever is wrong with the arguments or the file: an exit code, what is wrong, and no traceback."""
    (tmp_path / "notes.txt").write_text("notes")
    await used(tmp_path / "q.db", 10.0)
    done = quell("ledger", *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_damaged_ledger_is_refused_recovered_and_served(tmp_path: Path) -> None:
    """S5: the start names the command; what it saves is verified, and the proxy starts with it."""
    await used(tmp_path / "quell.db", *(float(age) for age in range(100)))
    sound = (tmp_path / "quell.db").read_bytes()
    rows = sound.index(b"task-u50message-u50")
    page = rows - rows % 4096
    (tmp_path / "quell.db").write_bytes(sound[:page] + b"\xff" * 4096 + sound[page + 4096 :])
    config = config_text("http://127.0.0.1:9/v1")
    (tmp_path / "quell.yaml").write_text(config)
    refused = await asyncio.to_thread(quell, "serve", "--config", "quell.yaml", folder=tmp_path)
    assert refused.returncode == 1
    assert f"`{sys.executable} -m proxy ledger recover {tmp_path}/quell.db --to NEW`" in refused.stderr + refused.stdout
    saved = quell("ledger", "recover", "quell.db", "--to", "new.db", folder=tmp_path)
    assert saved.returncode == 0
    (line,) = (line for line in saved.stdout.splitlines() if line.startswith("generation "))
    count, lost = map(int, line.split()[1:])
    assert count + lost == 100
    assert 0 < lost < 30
    assert quell("ledger", "verify", "new.db", folder=tmp_path).returncode == 0
    (tmp_path / "new.db").rename(tmp_path / "quell.db")
    async with running_program(config, tmp_path):
        pass
    assert len(left(tmp_path / "quell.db")) == count


async def test_purge_of_a_file(tmp_path: Path) -> None:
    """Without a proxy: what retention has passed, or what ended before some time; a dry run deletes nothing."""
    path = tmp_path / "quell.db"
    await used(path, 10.0, 30 * HOUR, 1000 * HOUR, 3000 * HOUR)
    (tmp_path / "quell.yaml").write_text(config_text("http://127.0.0.1:9/v1"))
    by_settings = ("ledger", "purge", "--config", "quell.yaml")
    dry = quell(*by_settings, "--dry-run", folder=tmp_path)
    assert (dry.returncode, dry.stdout) == (0, "to be deleted: 3 texts and 1 records\n")
    assert len(left(path)) == 4
    assert quell(*by_settings, "--yes", folder=tmp_path).stdout == "deleted: 3 texts and 1 records\n"
    assert left(path) == [("u0", "said"), ("u1", None), ("u2", None)]
    done = quell("ledger", "purge", "quell.db", "--before", "2d", "--yes", "-o", "json", folder=tmp_path)
    assert json.loads(done.stdout) == {"dry_run": False, "texts": 0, "records": 1}
    assert left(path) == [("u0", "said"), ("u1", None)]


@pytest.mark.parametrize("how", ["--yes", "--dry-run"])
@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda _path: None, "q.db: is empty, so it is no ledger (yet). Nothing was changed"),
        (lambda path: sqlite3.connect(path).execute("VACUUM").connection.close(), "q.db: is"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE t (a)").connection.close(), "q.db: is no ledger of"),
    ],
    ids=["empty", "without tables", "of another program"],
)
def test_purge_makes_no_ledger(tmp_path: Path, make: Callable[[Path], None], part: str, how: str) -> None:
    """A file that is no ledger is refused by name, and stays as it is to the byte."""
    path = tmp_path / "q.db"
    path.touch()
    make(path)
    before = path.read_bytes()
    done = quell("ledger", "purge", "q.db", "--before", "2d", how, folder=tmp_path)
    assert (done.returncode, part in done.stderr) == (1, True), done.stderr
    assert (path.read_bytes(), sorted(each.name for each in tmp_path.iterdir())) == (before, ["q.db"])


async def test_purge_of_a_file_spares_what_the_sink_was_not_served(tmp_path: Path) -> None:
    """It says how many stay, for a sink that the config file or the ledger knows; without one nothing is spared."""
    path = tmp_path / "quell.db"
    await used(path, *[3000 * HOUR] * 3)
    (tmp_path / "sink.yaml").write_text(
        config_text("http://127.0.0.1:9/v1", sink={"url": "http://127.0.0.1:9/${NOT_SET}"})
    )
    (tmp_path / "none.yaml").write_text(config_text("http://127.0.0.1:9/v1"))
    unserved = quell("ledger", "purge", "--config", "sink.yaml", "--yes", folder=tmp_path)
    assert (unserved.returncode, unserved.stdout) == (0, "deleted: 3 texts and 0 records\n")
    assert unserved.stderr == "3 more records stay: the sink was not served them yet\n"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO consumer (name, number) VALUES ('sink', 1)")
    named = ("ledger", "purge", "quell.db", "--before", "2d")
    for flag, verb in (("--dry-run", "to be deleted"), ("--yes", "deleted")):
        served = quell(*named, flag, folder=tmp_path)
        assert served.stdout == f"{verb}: 0 texts and 1 records\n"
        assert served.stderr == "2 more records stay: the sink was not served them yet\n"
    gone = quell("ledger", "purge", "--config", "none.yaml", "--yes", folder=tmp_path)
    assert (gone.stdout, gone.stderr) == ("deleted: 0 texts and 2 records\n", "")


async def test_purge_in_a_running_proxy(tmp_path: Path) -> None:
    """A ledger in use is purged by the proxy that holds it; what runs, and what is younger, stays."""
    path = tmp_path / "quell.db"
    await used(path, 30 * HOUR, 1000 * HOUR)
    async with scripted_upstream(sse_stream(chat_events(3))) as up:
        async with running_program(config_text(up.base_url), tmp_path) as program, RawClient(program.port) as client:
            await client.post("/v1/chat/completions", ask())
            await client.answer()
            await eventually(lambda: len(left(path)) == 3, what="the record is there")
            asked = ("ledger", "purge", "--config", "quell.yaml", "--admin", program.admin_url)
            dry = await asyncio.to_thread(quell, *asked, "--before", "100h", "--dry-run", folder=tmp_path)
            assert (dry.returncode, dry.stdout) == (0, "to be deleted: 1 texts and 1 records\n")
            done = await asyncio.to_thread(quell, *asked, "--before", "100h", "--yes", folder=tmp_path)
            assert (done.returncode, done.stdout) == (0, "deleted: 1 texts and 1 records\n")
            assert len(left(path)) == 2
            done = await asyncio.to_thread(quell, *asked, "--yes", folder=tmp_path)
            assert done.stdout == "deleted: 1 texts and 0 records\n"
            async with RawClient(program.admin_port) as admin:
                bearer = [("Authorization", "Bearer token-of-the-tests")]
                await admin.post("/api/ledger/purge", {"before": time.time() + 60}, bearer)
                assert (await admin.answer()).status == 400

"""`verify`: each rule finds what breaks it, and nothing that a ledger may hold."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.lifecycle import OUTCOME_OF, Cause, Outcome, Phase
from proxy.core.record import Known, Settlement, UsageSource
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.rules import CLOSED_RULES, POLICY_RULES, ROW_RULES, TABLE_RULES
from proxy.stores.ledger.verify import verify_file
from support.ledgers import a_ledger, all_written
from support.records import a_record

BREAKAGES = [
    ("outcome", "UPDATE generation SET outcome = 'lost' WHERE uid = 'over'"),
    ("cause", "UPDATE generation SET cause = 'whim' WHERE uid = 'over'"),
    ("phase", "UPDATE generation SET phase = 'asleep' WHERE uid = 'over'"),
    ("usage_source", "UPDATE generation SET usage_source = 'dice' WHERE uid = 'over'"),
    ("settlement", "UPDATE generation SET settlement = 'gift' WHERE uid = 'over'"),
    ("ended_at", "UPDATE generation SET ended_at = NULL WHERE uid = 'over'"),
    ("ended_at", "UPDATE generation SET ended_at = 2000.0 WHERE uid = 'runs'"),
    ("cause_and_outcome", "UPDATE generation SET cause = 'disconnect' WHERE uid = 'over'"),
    ("cause_and_outcome", "UPDATE generation SET outcome = 'completed', phase = 'finished' WHERE uid = 'over'"),
    ("stopped_by_nobody", "UPDATE generation SET cause = NULL WHERE uid = 'over'"),
    ("phase_and_outcome", "UPDATE generation SET phase = 'finished', cause = 'client' WHERE uid = 'runs'"),
    ("phase_and_outcome", "UPDATE generation SET phase = 'waiting' WHERE uid = 'failed'"),
    ("stop_forgotten", "UPDATE generation SET cause = 'client' WHERE uid = 'cut'"),
    ("stop_without_moment", "UPDATE generation SET elapsed_seconds = NULL WHERE uid = 'read-on'"),
    ("error_and_outcome", "UPDATE generation SET error_kind = 'reset' WHERE uid = 'over'"),
    ("failed_of_nothing", "UPDATE generation SET error_kind = NULL WHERE uid = 'failed'"),
    ("order_of_times", "UPDATE generation SET first_token_at = 999.0 WHERE uid = 'over'"),
    ("order_of_times", "UPDATE generation SET ended_at = 1000.4 WHERE uid = 'over'"),
    ("negative_number", "UPDATE generation SET completion_tokens = -1 WHERE uid = 'over'"),
    ("counts_without_source", "UPDATE generation SET usage_source = 'none' WHERE uid = 'over'"),
    ("source_without_counts", "UPDATE generation SET usage_source = 'upstream' WHERE uid = 'failed'"),
    ("part_of_prompt", "UPDATE generation SET cached_tokens = 1000 WHERE uid = 'over'"),
    ("cost_of_what", "UPDATE generation SET currency = NULL WHERE uid = 'over'"),
    ("cost_of_what", "UPDATE generation SET price = NULL WHERE uid = 'over'"),
    ("void_is_free", "UPDATE generation SET settlement = 'void' WHERE uid = 'over'"),
    ("running_is_unpriced", "UPDATE generation SET cost = 1, currency = 'USD', price = '{}' WHERE uid = 'runs'"),
    ("text_and_characters", "UPDATE generation SET characters = 1 WHERE uid = 'cut'"),
    ("ended_unsettled", "DELETE FROM settled WHERE uid = 'over'"),
    ("tags", "UPDATE generation SET tags = '{' WHERE uid = 'over'"),
    ("price", "UPDATE generation SET price = 'cheap' WHERE uid = 'over'"),
    ("running_without_process", "SELECT 1"),
    ("interrupted_unsettled", "DELETE FROM settled WHERE uid = 'cut'"),
    ("settled_while_running", "INSERT INTO settled (uid, revision) VALUES ('runs', 1)"),
    ("settled_of_nobody", "INSERT INTO settled (uid, revision) VALUES ('nobody', 1)"),
    ("revisions", "INSERT INTO settled (uid, revision) VALUES ('over', 3)"),
    ("later_truth_unsettled", "INSERT INTO truth (uid, revision, source, at) VALUES ('over', 2, 'upstream', 2000.0)"),
    ("revision_of_nothing", "INSERT INTO settled (uid, revision) VALUES ('over', 2)"),
    ("truth_of_nobody", "INSERT INTO truth (uid, revision, source, at) VALUES ('nobody', 1, 'upstream', 2000.0)"),
    ("pieces_of_nobody", "INSERT INTO generation_text VALUES ('nobody', 0, 'text')"),
    ("pieces_of_ended", "INSERT INTO generation_text VALUES ('over', 0, 'text')"),
    ("pieces_with_gap", "UPDATE generation_text SET offset = 30 WHERE uid = 'runs' AND offset = 7"),
    ("sound", "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = 'generation_by_end'"),
]

OVER = a_record(
    "over",
    outcome=Outcome.CANCELLED,
    cause=Cause.CLIENT,
    phase=Phase.STREAMING,
    first_token_at=1000.5,
    ended_at=1001.0,
    text="said\0 and more",
    characters=14,
    prompt_tokens=7,
    completion_tokens=3,
    usage_source=UsageSource.UPSTREAM,
    cost=Decimal("0.5"),
    currency="USD",
    price="{}",
)


async def used(path: Path) -> None:
    """A ledger with a record of every way to end, one that was cut off, one that runs, and one that is read on."""
    async with a_ledger(path) as ledger:
        await ledger.begin(a_record("cut"))
        ledger.append("cut", "half")
        ledger.note("cut", Known(phase=Phase.STREAMING, completion_tokens=1, usage_source=UsageSource.UPSTREAM_RUNNING))
        await all_written(ledger)
    async with a_ledger(path, now=1010.0) as ledger:
        for cut in await ledger.unsettled(10):
            await ledger.settle(cut)
        ends = [OVER, replace(OVER, uid="void", settlement=Settlement.VOID, cost=Decimal(0), text=None)]
        done = {"phase": Phase.FINISHED, "ended_at": 1001.0}
        ends += [
            a_record("failed", outcome=Outcome.FAILED, error_kind="reset", **done),
            a_record("late", outcome=Outcome.TIMED_OUT, error_kind="idle_timeout", **done),
            a_record("done", outcome=Outcome.COMPLETED, **done),
        ]
        ends += [
            a_record(f"by-{cause}", outcome=outcome, cause=cause, phase=Phase.QUEUED, ended_at=1001.0)
            for cause, outcome in OUTCOME_OF.items()
        ]
        for end in ends:
            await ledger.begin(a_record(end.uid))
            await ledger.end(end)
        await ledger.begin(a_record("read-on"))
        await ledger.stop(replace(OVER, uid="read-on", outcome=Outcome.RUNNING, ended_at=None, elapsed_seconds=1.0))
        await ledger.begin(a_record("runs"))
        for piece in ("text ä😀", " ", "more"):
            ledger.append("runs", piece)
            await all_written(ledger)


def change(path: Path, *statements: str) -> None:
    """Do something to the file that no proxy does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.executescript(statement)


def rules(path: Path) -> list[str]:
    """The rules that are broken."""
    return sorted({finding.rule for finding in verify_file(path).findings})


async def test_a_ledger_in_use_is_in_order(tmp_path: Path) -> None:
    """Whatever a running proxy keeps is found to be in order, while it runs; texts with NUL too."""
    path = tmp_path / "q.db"
    await used(path)
    async with a_ledger(path) as ledger:
        await ledger.begin(a_record("next"))
        for piece in ("a\0b", "c"):
            ledger.append("next", piece)
            await all_written(ledger)
        found = verify_file(path)
        assert (found.findings, found.in_use) == ([], True)
        assert found.records == 7 + len(OUTCOME_OF) + 2
    assert verify_file(path).in_use is False


@pytest.mark.parametrize("source", [UsageSource.TOKENIZER, UsageSource.ESTIMATE])
async def test_numbers_of_two_sources_are_not_held_against_each_other(tmp_path: Path, source: UsageSource) -> None:
    """An upstream may say that more of a prompt was cached than our own count of it has."""
    async with a_ledger(tmp_path / "q.db") as ledger:
        await ledger.begin(a_record("over"))
        await ledger.end(replace(OVER, cached_tokens=9, usage_source=source))
    assert rules(tmp_path / "q.db") == []


@pytest.mark.parametrize(
    ("rule", "breakage"), BREAKAGES, ids=[f"{number}-{rule}" for number, (rule, _) in enumerate(BREAKAGES)]
)
async def test_each_rule_finds_what_breaks_it(tmp_path: Path, rule: str, breakage: str) -> None:
    """A change that no proxy makes is found, under the name of the rule it breaks and with the task id."""
    path = tmp_path / "q.db"
    await used(path)
    assert rules(path) == ["running_without_process"]
    change(path, "PRAGMA foreign_keys = OFF", breakage)
    found = [finding for finding in verify_file(path).findings if finding.rule == rule]
    assert found
    if "nobody" not in breakage and rule != "sound":
        assert all(finding.task_id == f"task-{finding.uid}" for finding in found)


def test_every_rule_is_shown_to_work() -> None:
    """There is a breakage for each rule."""
    known = {rule.name for rule in (*ROW_RULES, *CLOSED_RULES, *TABLE_RULES)} | {"sound"}
    assert known == {rule for rule, _ in BREAKAGES}


@pytest.mark.parametrize(("text", "count"), [("all", 0), ("partial", 1), ("none", 3)])
async def test_texts_by_the_setting(tmp_path: Path, text: str, count: int) -> None:
    """A text that the setting `ledger.text` does not keep is found."""
    path = tmp_path / "q.db"
    await used(path)
    change(path, "UPDATE generation SET text = 'whole' WHERE uid = 'done'")
    found = verify_file(path, text=text).findings  # type: ignore[arg-type]  # one of the policies
    assert len([finding for finding in found if finding.rule == POLICY_RULES["none"].name]) == count


async def test_long_files_are_looked_at_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is looked at once, however many parts there are, and the progress goes from nothing to all."""
    monkeypatch.setattr("proxy.stores.ledger.verify._AT_ONCE", 3)
    path = tmp_path / "q.db"
    await used(path)
    change(path, "UPDATE generation SET cached_tokens = -1")
    seen: list[tuple[int, int]] = []
    note: Callable[[int, int], None] = lambda done, of: seen.append((done, of))  # noqa: E731 short
    found = verify_file(path, progress=note)
    assert len([finding for finding in found.findings if finding.rule == "negative_number"]) == found.records
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1]


async def test_what_is_no_ledger_of_this_version_is_refused(tmp_path: Path) -> None:
    """Another program's file, another schema and no database are refused, each in one sentence; nothing is changed."""
    path = tmp_path / "q.db"
    await used(path)
    change(path, "UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(LedgerOpenError, match="has schema 0001"):
        verify_file(path)
    change(path, "PRAGMA application_id = 7")
    with pytest.raises(LedgerOpenError, match="no ledger of this program"):
        verify_file(path)
    path.write_bytes(b"notes" * 1000)
    with pytest.raises(LedgerOpenError, match=r"can't be read \(file is not a database\).*quell ledger recover"):
        verify_file(path)
    assert path.read_bytes() == b"notes" * 1000

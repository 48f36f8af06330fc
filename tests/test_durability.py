"""Which test holds which promise of the ledger, and shows which fault. The list can't rot: each test named is there.

I1 to I9 are the ledger's invariants; S, P and Z are faults of storage, of the process, and of security.
"""

import ast
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
TORTURE: Final = "e2e/test_torture.py::test_kills_lose_no_start_no_end_and_a_flush_at_most"
PROPERTY: Final = "stores/test_ledger_property.py::LedgerMachine"
POWER_CUT: Final = "stores/test_power_cut.py::test_a_power_cut_loses_nothing_acknowledged"

HELD_BY: Final = {
    # no byte reaches a client without a durable START
    "I1": (TORTURE, PROPERTY, POWER_CUT),
    # recovered text is a prefix of what the upstream sent
    "I2": (
        TORTURE,
        PROPERTY,
        POWER_CUT,
        "stores/test_ledger_crash.py::test_a_kill_at_any_instant_loses_nothing_acknowledged",
    ),
    # what is missing after a kill is at most one flush
    "I3": (TORTURE, PROPERTY, "e2e/test_process.py::test_kill_loses_no_start_and_at_most_a_flush"),
    # exactly one terminal state per id, for ever
    "I4": (
        TORTURE,
        PROPERTY,
        "stores/test_left_records.py::test_a_settled_record_never_changes",
        "stores/test_left_records.py::test_a_kill_before_the_count_is_made_good_at_the_next_start",
        "e2e/test_kept_stops.py::test_a_kill_while_it_is_read_on",
    ),
    # replaying what is forwarded gives the same ledger: each end is given out once, in an order that never changes
    "I5": (PROPERTY, "stores/test_migration.py::test_what_is_deleted_is_no_longer_settled"),
    # billed units are a pure function of the records: a settled record is counted once, from what it has itself
    "I6": (
        "stores/test_left_records.py::test_what_counts_beyond_the_text_is_estimated",
        "stores/test_left_records.py::test_a_settled_record_never_changes",
    ),
    # the sum over all records equals the upstream's own send log, less I3
    "I7": (TORTURE,),
    # a late or failed START, or a full disk, refuses new work before the upstream is called
    "I8": (
        "stores/test_ledger_full_disk.py::test_a_proxy_without_room_refuses_and_lets_end",
        "stores/test_ledger_full_disk.py::test_below_the_reserve_no_new_work_is_taken",
        "stores/test_ledger_writer.py::test_a_late_start_fails_and_is_never_written",
        "e2e/test_bad_disk.py::test_a_disk_that_became_read_only",
    ),
    # every queue is bounded; at the bound new work is refused, old work is kept
    "I9": (
        PROPERTY,
        "stores/test_ledger_writer.py::test_at_the_bound_new_work_is_refused_and_old_work_kept",
        "stores/test_left_records.py::test_the_newest_note_counts",
    ),
    "S1": (
        "e2e/test_bad_disk.py::test_a_lock_of_another_program",
        "stores/test_ledger_writer.py::test_a_lock_that_goes_away_costs_nothing",
    ),
    "S2": (
        "stores/test_ledger_full_disk.py::test_a_full_disk_refuses_new_work_and_loses_nothing",
        "stores/test_ledger_full_disk.py::test_a_proxy_without_room_refuses_and_lets_end",
        "stores/test_ledger_writer.py::test_a_full_disk_loses_nothing_acknowledged",
    ),
    "S4": (
        "e2e/test_bad_disk.py::test_a_disk_that_became_read_only",
        "stores/test_ledger_open.py::test_a_folder_without_the_right_to_write_is_refused",
    ),
    "S5": (
        "stores/test_ledger_open.py::test_a_damaged_page_is_refused_with_a_remedy",
        "stores/test_ledger_recover.py::test_a_broken_page_costs_what_it_held",
        "cli/test_ledger_commands.py::test_a_damaged_ledger_is_refused_recovered_and_served",
    ),
    "S6": (POWER_CUT,),
    "S8": ("e2e/test_bad_disk.py::test_a_sync_that_fails_once_is_written_again",),
    "S9": ("e2e/test_bad_disk.py::test_a_disk_that_is_slow",),
    "S18": (
        "stores/test_ledger_open.py::test_the_schema_of_a_newer_version_is_refused",
        "stores/test_migration.py::test_a_migration_is_done_as_a_whole",
    ),
    "P1": (
        "e2e/test_process.py::test_drain_lets_running_work_end",
        "e2e/test_process.py::test_drain_over_its_time_stops_properly",
    ),
    "P2": ("e2e/test_process.py::test_second_signal_ends_at_once",),
    "P3": (
        TORTURE,
        "e2e/test_process.py::test_kill_loses_no_start_and_at_most_a_flush",
        "e2e/test_process.py::test_kill_leaves_a_record_that_can_be_billed",
        "e2e/test_kept_stops.py::test_a_kill_while_it_is_read_on",
    ),
    "P4": (
        TORTURE,
        PROPERTY,
        "stores/test_ledger_crash.py::test_a_kill_at_any_instant_loses_nothing_acknowledged",
    ),
    "P5": (POWER_CUT,),
    # the kernel's SIGKILL for want of memory is that of P3
    "P6": (TORTURE,),
    "P13": ("stores/test_ledger_open.py::test_a_second_process_is_refused_and_told_who_was_first",),
    "Z3": ("e2e/test_process.py::test_no_credential_and_no_text_anywhere",),
    "Z14": (
        "stores/test_ledger_open.py::test_files_are_for_their_owner_only",
        "stores/test_ledger_recover.py::test_a_sound_ledger_is_saved_as_it_is",
        "stores/test_ledger_writer.py::test_a_wiped_text_leaves_the_file",
        "cli/test_ledger_commands.py::test_purge_of_a_file",
    ),
}


@pytest.mark.parametrize("promise", HELD_BY)
def test_what_holds_a_promise_is_there(promise: str) -> None:
    """Each test that is said to hold it exists under that name, and says in its first lines what it is about."""
    for place in HELD_BY[promise]:
        file, _, name = place.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        found = [node for node in tree.body if getattr(node, "name", None) == name]
        assert found, place
        assert isinstance(found[0], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        assert ast.get_docstring(found[0]), place

"""What must hold in a ledger's file, one rule each: its name, when it is broken (as SQL), and what that means.

A row's rule is a condition over one row of `generation`. Conditions are null-safe: what is null breaks no rule unless
the rule says so. A table's rule is a SELECT of uid and task id of whatever breaks it.
"""

from dataclasses import dataclass
from typing import Final

from proxy.core.lifecycle import OUTCOME_OF, Cause, Outcome, Phase
from proxy.core.record import Settlement, UsageSource

__all__ = ["CLOSED_RULES", "POLICY_RULES", "ROW_RULES", "TABLE_RULES", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that must hold."""

    name: str
    broken: str
    meaning: str


def _among(column: str, values: list[str]) -> str:
    named = ", ".join(f"'{value}'" for value in values)
    return f"{column} NOT IN ({named})"


def _stops() -> str:
    pairs = " OR ".join(f"(cause = '{cause}' AND outcome = '{outcome}')" for cause, outcome in OUTCOME_OF.items())
    return f"({pairs})"


_ENDED: Final = "outcome <> 'running'"
_RELEASED: Final = "(cause IS NOT NULL OR phase = 'finished')"
"""Of a running record: a stop has released its client, and its upstream is read on; without a cause it was complete."""

_WITHOUT_NUL: Final = "instr(CAST(text AS BLOB), x'00') = 0"
"""SQLite's `length` of a text ends at a NUL."""

_COUNTS: Final = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
_NUMBERS: Final = (*_COUNTS, "cost", "characters", "max_tokens", "late_tokens", "saved_most", "saved_typical")

_BY_UPSTREAM: Final = (UsageSource.UPSTREAM, UsageSource.UPSTREAM_RUNNING)
"""The sources that say that all counts are the upstream's own; a mixture is called by the less exact one."""

_UNSETTLED: Final = "NOT EXISTS (SELECT 1 FROM settled WHERE settled.uid = generation.uid AND revision = 1)"

ROW_RULES: Final = (
    Rule("outcome", _among("outcome", list(Outcome)), "its outcome is none that there is"),
    Rule("cause", f"cause IS NOT NULL AND {_among('cause', list(Cause))}", "its cause is none that there is"),
    Rule("phase", _among("phase", list(Phase)), "its phase is none that there is"),
    Rule("usage_source", _among("usage_source", list(UsageSource)), "nobody knows where its counts come from"),
    Rule("settlement", _among("settlement", list(Settlement)), "nobody knows what it is billed for"),
    Rule(
        "ended_at", f"({_ENDED}) <> (ended_at IS NOT NULL)", "an ended record has a time of its end, a running one none"
    ),
    Rule(
        "cause_and_outcome",
        f"{_ENDED} AND outcome <> 'interrupted' AND cause IS NOT NULL AND NOT {_stops()}",
        "whoever is said to have stopped it can't have ended it like that",
    ),
    Rule(
        "stopped_by_nobody",
        "outcome IN ('cancelled', 'client_gone') AND cause IS NULL",
        "it was stopped, and the record does not say by whom",
    ),
    Rule(
        "phase_and_outcome",
        "(outcome IN ('completed', 'failed') AND phase <> 'finished') "
        "OR (outcome = 'running' AND phase = 'finished' AND cause IS NOT NULL)",
        "its phase belongs to another outcome",
    ),
    Rule(
        "stop_forgotten",
        "outcome = 'interrupted' AND cause IS NOT NULL",
        "it was stopped before the process died, and does not end as the stop says",
    ),
    Rule(
        "stop_without_moment",
        f"outcome = 'running' AND {_RELEASED} AND elapsed_seconds IS NULL",
        "a stop has released it, and the record does not say when",
    ),
    Rule(
        "error_and_outcome",
        "error_kind IS NOT NULL AND outcome NOT IN ('failed', 'timed_out')",
        "it has an error, and did not fail",
    ),
    Rule(
        "failed_of_nothing",
        "outcome = 'failed' AND error_kind IS NULL",
        "it failed, and the record does not say of what",
    ),
    Rule(
        "order_of_times",
        "first_token_at < started_at - 0.001 OR ended_at < first_token_at - 0.001 OR elapsed_seconds < 0",
        "its times are not in the order in which things happen",
    ),
    Rule(
        "negative_number",
        " OR ".join(f"{column} < 0" for column in _NUMBERS) + " OR upstream_closed_ms < 0",
        "a number that can't be negative is",
    ),
    Rule(
        "counts_without_source",
        "usage_source = 'none' AND (" + " OR ".join(f"{column} IS NOT NULL" for column in _COUNTS) + ")",
        "it has token counts from nowhere",
    ),
    Rule(
        "source_without_counts",
        f"{_ENDED} AND usage_source <> 'none' AND " + " AND ".join(f"{column} IS NULL" for column in _COUNTS),
        "its token counts are said to be known, and are not there",
    ),
    Rule(  # a prompt that we counted may well come out smaller than what the upstream says was cached of it
        "part_of_prompt",
        f"cached_tokens > prompt_tokens AND NOT ({_among('usage_source', list(_BY_UPSTREAM))})",
        "more of its prompt was cached than there was, and both are its upstream's numbers",
    ),
    Rule(
        "cost_of_what",
        "cost IS NOT NULL AND (currency IS NULL OR (price IS NULL AND NOT (settlement = 'void' AND cost = 0)))",
        "it has a cost without a currency or without the prices that made it",
    ),
    Rule(
        "void_is_free",
        "settlement = 'void' AND cause IS NOT NULL AND cost <> 0",
        "it was stopped, is to be billed for nothing then, and costs something",
    ),
    Rule(
        "running_is_unpriced",
        f"outcome = 'running' AND NOT {_RELEASED} AND cost IS NOT NULL",
        "it has a cost before it has ended",
    ),
    Rule(
        "text_and_characters",
        "text IS NOT NULL AND characters IS NOT NULL AND text_clipped = 0 AND outcome = 'interrupted' "
        f"AND {_WITHOUT_NUL} AND length(text) <> characters",
        "the number of its characters is not that of its text",
    ),
    Rule(
        "ended_unsettled",
        f"outcome NOT IN ('running', 'interrupted') AND {_UNSETTLED}",
        "it has ended, and no export will ever show it",
    ),
    Rule("tags", "NOT json_valid(tags)", "its tags can't be read"),
    Rule("price", "price IS NOT NULL AND NOT json_valid(price)", "its prices can't be read"),
)
"""Of each record, whether or not the proxy runs."""

POLICY_RULES: Final = {
    "none": Rule("text_policy", "text IS NOT NULL", "it has a text, and ledger.text is none"),
    "partial": Rule(
        "text_policy",
        "outcome = 'completed' AND text IS NOT NULL",
        "it was completed and has a text, and ledger.text is partial",
    ),
}
"""Of each record, by the setting `ledger.text`."""

CLOSED_RULES: Final = (
    Rule(
        "running_without_process",
        "outcome = 'running'",
        "it runs, and no process holds the ledger: that one died. The next start ends it as interrupted",
    ),
    Rule(
        "interrupted_unsettled",
        f"outcome = 'interrupted' AND {_UNSETTLED}",
        "it was cut off, and is in no export; the next start counts and settles it",
    ),
)
"""Of each record while no process holds the ledger."""

TABLE_RULES: Final = (
    Rule(
        "settled_while_running",
        "SELECT g.uid, g.task_id FROM settled s JOIN generation g ON g.uid = s.uid WHERE g.outcome = 'running'",
        "it runs, and was given out as ended",
    ),
    Rule(
        "settled_of_nobody",
        "SELECT s.uid, NULL FROM settled s WHERE NOT EXISTS (SELECT 1 FROM generation g WHERE g.uid = s.uid)",
        "an end was given out of a record that is not there",
    ),
    Rule(
        "revisions",
        "SELECT s.uid, (SELECT g.task_id FROM generation g WHERE g.uid = s.uid) FROM settled s GROUP BY s.uid "
        "HAVING min(revision) <> 1 OR max(revision) <> count(*)",
        "the versions that were given out of it have a gap",
    ),
    Rule(
        "later_truth_unsettled",
        "SELECT t.uid, (SELECT g.task_id FROM generation g WHERE g.uid = t.uid) FROM truth t WHERE NOT EXISTS "
        "(SELECT 1 FROM settled s WHERE s.uid = t.uid AND s.revision = t.revision)",
        "a later truth of it is never given out",
    ),
    Rule(
        "revision_of_nothing",
        "SELECT s.uid, (SELECT g.task_id FROM generation g WHERE g.uid = s.uid) FROM settled s WHERE s.revision > 1 "
        "AND NOT EXISTS (SELECT 1 FROM truth t WHERE t.uid = s.uid AND t.revision = s.revision)",
        "a later version of it was given out, and is not there",
    ),
    Rule(
        "truth_of_nobody",
        "SELECT t.uid, NULL FROM truth t WHERE NOT EXISTS (SELECT 1 FROM generation g WHERE g.uid = t.uid)",
        "there is a later truth of a record that is not there",
    ),
    Rule(
        "pieces_of_nobody",
        "SELECT DISTINCT p.uid, NULL FROM generation_text p WHERE NOT EXISTS "
        "(SELECT 1 FROM generation g WHERE g.uid = p.uid)",
        "there are pieces of text of a record that is not there",
    ),
    Rule(
        "pieces_of_ended",
        "SELECT DISTINCT g.uid, g.task_id FROM generation_text p JOIN generation g ON g.uid = p.uid "
        "WHERE g.outcome <> 'running'",
        "it has ended, and pieces of its text are left",
    ),
    Rule(
        "pieces_with_gap",
        "SELECT g.uid, g.task_id FROM (SELECT uid, max(offset + length(piece)) AS upto, sum(length(piece)) AS kept, "
        "min(offset) AS first FROM generation_text GROUP BY uid HAVING max(instr(CAST(piece AS BLOB), x'00')) = 0) p "
        "JOIN generation g ON g.uid = p.uid "
        "WHERE p.first <> 0 OR p.upto <> p.kept",
        "a piece in the middle of its text is missing",
    ),
)
"""Across tables, whether or not the proxy runs."""

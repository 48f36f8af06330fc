"""Texts and tags on their way through the local file to PostgreSQL and back."""

import random
from pathlib import Path

from proxy.core.receipt import LIST_TEXT
from proxy.stores.ledger.port import RecordFilter
from proxy.stores.ledger.rows import clean
from proxy.stores.ledger.usage import UsageQuery
from support.postgres import Database
from support.shared_ledgers import a_shared_ledger, all_of_it, ended, settle

PARTS = [
    "\0",
    "\x10",
    "\x10@",
    "@",
    "\\",
    "\\u0000",
    "u0000",
    "{",
    '{"',
    '"',
    "\ud800",
    "\udc00",
    "\x01",
    "\n",
    "\x7f",
    "ä",
    "🙂",
]


async def test_any_text_comes_back(tmp_path: Path, database: Database) -> None:
    """Texts and tags of control characters, NULs, surrogates and what looks like an escape come out as they went in.

    Lone surrogates are replaced before the local file; a NUL in a tag is, before PostgreSQL, whose JSON has none.
    """
    odd = random.Random(11)

    def a_text() -> str:
        return "".join(odd.choices(PARTS, k=odd.randrange(12)))

    records = []
    for number in range(300):
        tags = {a_text(): a_text() for _ in range(odd.randrange(3))}
        facts = {"text": a_text(), "reason": a_text(), "user": a_text(), "model": a_text()}
        records.append(ended(f"u{number:03}", started_at=1000.0 + number, tags=tags, **facts))
    records.append(ended("u300", started_at=2000.0, user="", reason="", model="", text="\0" * (2 * LIST_TEXT)))
    async with a_shared_ledger(tmp_path / "q.db", database.url) as ledger:
        await settle(ledger, *records)
        await all_of_it(ledger.forwarder)
        exported = [each.record for each in (await ledger.exports.after(0, 1000, text=True)).settled]
        listed = list(reversed((await ledger.page(RecordFilter(), 1000, None)).records))
        assert len(exported) == len(listed) == len(records)
        for record, whole, begin in zip(records, exported, listed, strict=True):
            held = {clean(name): clean(value) for name, value in record.tags.items()}
            assert whole.tags == {_no_nul(name): _no_nul(value) for name, value in held.items()}
            for name in ("text", "reason", "user", "model"):
                expected = clean(getattr(record, name))
                assert getattr(whole, name) == expected
                assert getattr(begin, name) == expected[: LIST_TEXT + 1]
        groups = await ledger.usage(UsageQuery(("user", "tag:@")))
        assert {row.group[0] for row in groups} == {clean(str(each.user)) for each in records}


def _no_nul(value: str) -> str:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")

"""What a process that died left uncounted: its texts are counted behind the start, and its records settled."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Final

import structlog

from proxy.core.encodings import EncodingSetting, encoding_for, shown
from proxy.core.generation import Priced
from proxy.core.record import Record, UsageSource
from proxy.engine.failures import log_failure
from proxy.engine.settling.counting import Counter, estimate, least_exact
from proxy.stores.ledger.port import Ledger, LedgerUnavailableError

log = structlog.get_logger()

AT_ONCE: Final = 50
"""Records with their texts in memory at once: 50 MiB at most by default."""

RETRY_SECONDS: Final = 5.0


async def settle_left_records(
    ledger: Ledger,
    counter: Counter,
    encoding_of: Callable[[str], EncodingSetting],
    price_of: Callable[[Record], Priced],
    settled_as: Callable[[Record, Record], None] = lambda _before, _after: None,
    alone: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
) -> None:
    """Count, price and settle what is left; returns when all is. A failure of the ledger is tried again.

    Args:
        ledger: opened, with what the dead process left ended as interrupted.
        counter: counts the texts.
        encoding_of: the setting `encoding` of an upstream, `auto` for one that is not there any more.
        price_of: what a counted record costs.
        settled_as: told of each as it was, and as it is from now on.
        alone: entered while records are settled and told of: whoever sums records up must see both or neither.
    """
    settled = 0
    while True:
        try:
            left = await ledger.unsettled(AT_ONCE)
            if not left:
                break
            counted = [await _counted(record, counter, encoding_of(record.upstream)) for record in left]
            priced = [_priced(record, price_of(record)) for record in counted]
            async with alone():
                done = await asyncio.gather(*(_settle(ledger, record) for record in priced), return_exceptions=True)
                for before, after, is_done in zip(left, priced, done, strict=True):
                    if is_done == 1:
                        settled_as(before, after)
            settled += done.count(1)
            for failure in done:
                if isinstance(failure, BaseException):
                    raise failure
        except LedgerUnavailableError as error:
            log_failure("ledger.left_records_wait", error)
            await asyncio.sleep(RETRY_SECONDS)
    if settled:
        log.info("ledger.left_records_settled", records=settled)


async def _settle(ledger: Ledger, record: Record) -> int:
    return await ledger.settle(record)


async def _counted(record: Record, counter: Counter, setting: EncodingSetting) -> Record:
    """The record with its completion tokens: of its text, more where more counts than is in the text.

    What its prompt had, nobody knows any more, unless it was told or counted while it ran.
    """
    if record.completion_tokens is not None:
        return record
    text, counts = record.text or "", record.characters or 0
    kept = None if record.text is None else len(text)
    if not counts:
        return replace(record, characters=kept)
    encoding = encoding_for(record.model or "", setting)
    if text:
        tokens, source = await counter.count(text, encoding)
    else:
        tokens, source = estimate(counts), UsageSource.ESTIMATE
    if text and counts > len(text):
        tokens, source = round(tokens * counts / len(text)), UsageSource.ESTIMATE
    if record.usage_source is not UsageSource.NONE:
        source = least_exact(source, record.usage_source)
    return replace(record, completion_tokens=tokens, usage_source=source, encoding=shown(encoding), characters=kept)


def _priced(record: Record, priced: Priced) -> Record:
    return replace(record, cost=priced.cost, currency=priced.currency, price=priced.price)

"""The page of the record: every field, in the order of the exports' columns."""

from typing import Final

from proxy.cli.export_formats import columns
from proxy.core.lifecycle import Cause, Outcome, Phase
from proxy.core.record import Settlement, UsageSource


def _words(kind: type[Outcome | Cause | Phase | UsageSource | Settlement]) -> str:
    return ", ".join(f"`{each.value}`" for each in kind)


_FIELDS: Final = {
    "id": "`<uid>.<revision>`: the same in every export, event and replay. Only in exports",
    "revision": "1: the end of the generation; more: a later truth. Only in exports",
    "task_id": "the work's id, by which it is stopped; the caller may have chosen it",
    "message_id": "the answer's id",
    "dialect": "the API that the caller spoke",
    "route": "the route's path",
    "upstream": "the upstream's name",
    "started_at": "when it was taken in; times are UTC",
    "key_id": "whose it is: the key's `id`, or the first 12 hex digits of the credential's SHA-256, or `anonymous`",
    "replica": "which replica it ran on",
    "model": "the model that was asked for",
    "user": "the end user: `X-User-Id`, else what the body names",
    "tags": "the route's `tags`",
    "upstream_id": "the provider's own id, such as `chatcmpl-…`",
    "upstream_model": "the model that answered",
    "first_token_at": "when the answer's first byte came",
    "ended_at": "when it ended",
    "outcome": f"how it ended, once and for ever: {_words(Outcome)}",
    "cause": f"what stopped it, if anything did: {_words(Cause)}",
    "cancelled_by": "who stopped it",
    "reason": "why, in the words of whoever stopped it",
    "prompt_tokens": "tokens of the prompt",
    "completion_tokens": "tokens of the answer; of a stopped one as the route's `settlement` says",
    "cached_tokens": "those of the prompt that came from the provider's cache",
    "reasoning_tokens": "those of the answer that were reasoning",
    "usage_source": f"who counted ([counting](../explain/counting.md)): {_words(UsageSource)}",
    "cost": "what it costs, as a decimal text ([prices](../howto/prices.md))",
    "currency": "in three letters",
    "characters": "how much text came",
    "text": "the text that is kept; in exports only with `--text`",
    "text_clipped": "whether that is not all of it",
    "error_kind": "how it failed, if it did; `upstream_…` in [errors](errors.md)",
    "phase": f"where whatever ended it met it: {_words(Phase)}",
    "elapsed_seconds": "how long it ran",
    "upstream_closed_ms": "from the stop accepted to the upstream closed",
    "settlement": f"what a stopped one is billed for: {_words(Settlement)}",
    "price": "the unit prices that the cost was made with, and their list's version",
    "encoding": "what was counted with, where we counted",
    "max_tokens": "the most tokens that the request allowed",
    "late_tokens": "tokens that the provider made behind the stop; in no bill",
    "saved_most": "tokens not made thanks to the stop: at most so many; in no bill",
    "saved_typical": "the same against the usual length of that model's answers; in no bill",
    "truth_source": "of a later truth: who told it. The further `truth_` columns are what it told",
}
_HEAD: Final = """\
# The record

One for each generation: what `GET /generations/{id}` shows, what exports and events have, and what bills are made from.
A value that nobody knows is null (in CSV empty), never 0. How to read it out: [bill from the ledger](../howto/bill.md).

| field | meaning |
|---|---|
"""


def record_page() -> str:
    """The page.

    Raises:
        ValueError: a field has no meaning here, or a meaning is about no field.
    """
    names = [each for each in columns(text=True) if not each.startswith("truth_") or each == "truth_source"]
    if lost := set(names) ^ set(_FIELDS):
        raise ValueError(f"fields without a meaning, or meanings without a field: {sorted(lost)}")
    return _HEAD + "\n".join(f"| `{name}` | {_FIELDS[name]} |" for name in names) + "\n"

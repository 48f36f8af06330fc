"""The schemas of what the admin API says of the whole proxy: usage, upstreams, health, config, budgets, ledger."""

from typing import Final, get_args

from proxy.core.lifecycle import Cause
from proxy.core.settings.settings import UpstreamSettings
from proxy.edge.openapi.schema_words import (
    ANYTHING,
    COUNT,
    MOMENT,
    MONEY,
    NUMBER,
    TEXT,
    TEXTS,
    WHOLE,
    YES_NO,
    Schema,
    about,
    const,
    items,
    obj,
    one_of_words,
    or_null,
    ref,
    table,
)
from proxy.engine.upstreams.news import UpstreamState
from proxy.stores.ledger.truths import Attached

_SUM: Final = about(or_null(COUNT), "Null where no part of it is known.")
_MONEY: Final = about(table(MONEY), "By currency.")
_SAVED_COST: Final = about(
    or_null(table(obj(typical=or_null(MONEY), most=or_null(MONEY)))),
    "By currency, a range; null where no price of what was saved is known.",
)
_COMPARED: Final = obj(ours=_SUM, theirs=_SUM, percent=or_null(NUMBER))


def _list(of: Schema, **more: Schema) -> Schema:
    return obj(object=const("list"), data=items(of), **more)


def _setting(name: str) -> Schema:
    """The words that a setting of an upstream may have."""
    return one_of_words(get_args(UpstreamSettings.model_fields[name].annotation))


_USAGE_ROW: Final = obj(
    group=about(table(or_null(TEXT)), "The value of each group."),
    generations=COUNT,
    prompt_tokens=_SUM,
    completion_tokens=_SUM,
    total_tokens=_SUM,
    cached_tokens=_SUM,
    reasoning_tokens=_SUM,
    unknown=about(COUNT, "Generations that lack a count."),
    cost=_MONEY,
    cost_unknown=about(COUNT, "Generations without a cost."),
    saved_most=_SUM,
    saved_typical=_SUM,
    late_tokens=_SUM,
    saved_cost=_SAVED_COST,
    saved_unpriced=about(COUNT, "Generations with saved tokens and no known price for them."),
)
_UPSTREAM: Final = obj(
    name=TEXT,
    base_url=TEXT,
    calls=about(COUNT, "Calls that run now."),
    slots=or_null(COUNT),
    waiting=about(COUNT, "Calls that wait for a slot."),
    reading_on=COUNT,
    bills_after_close=_setting("bills_after_close"),
    on_stop=_setting("on_stop"),
    format=_setting("format"),
    state=about(one_of_words(get_args(UpstreamState)), "How the last call went; none is made to find out."),
    errors=about(table(COUNT), "Errors of the last five minutes, by kind."),
    last_error=or_null(obj(at=MOMENT, kind=TEXT)),
    last_success_at=or_null(MOMENT),
)
_BUDGET: Final = obj(
    per=TEXT,
    window_seconds=or_null(NUMBER),
    limits=table(TEXT),
    window_ends_at=or_null(MOMENT),
    used_up=or_null(COUNT),
    nearest=items(obj(key_id=TEXT, user=or_null(TEXT), used=table(TEXT), percent=NUMBER, used_up=YES_NO)),
    shared=about(or_null(YES_NO), "False: what this replica knows by itself."),
)
_VALUE: Final = obj(
    key=TEXT,
    value=ANYTHING,
    line=or_null(WHOLE),
    column=or_null(WHOLE),
    from_=one_of_words(("file", "default", "environment", "command line", "demo")),
)
_DRIFT: Final = obj(
    upstream=TEXT,
    model=or_null(TEXT),
    source=TEXT,
    records=COUNT,
    not_compared=COUNT,
    prompt_tokens=_COMPARED,
    completion_tokens=_COMPARED,
    cost=table(obj(ours=MONEY, theirs=MONEY, percent=or_null(NUMBER))),
)

ANSWER_SCHEMAS: Final[dict[str, Schema]] = {
    "Usage": obj(object=const("usage"), since=or_null(MOMENT), until=or_null(MOMENT), by=TEXTS, data=items(_USAGE_ROW)),
    "Summary": obj(
        object=const("summary"),
        live=COUNT,
        reading_on=about(COUNT, "Whose upstream is only read for its usage any more."),
        queued=about(COUNT, "That wait for a slot."),
        orphans=about(COUNT, "Calls still open 5 s after their generation ended, or after what may be read on."),
        complete=about(YES_NO, "False where a replica did not answer."),
        draining=about(YES_NO, "Whether this replica is shutting down, and takes no new work."),
        today=obj(
            since=about(MOMENT, "Midnight, UTC."),
            generations=COUNT,
            stopped=COUNT,
            stops_by_cause={
                "type": "object",
                "properties": {cause.value: COUNT for cause in Cause},
                "additionalProperties": False,
            },
            completion_tokens=_SUM,
            cost=_MONEY,
            saved_tokens=obj(typical=_SUM, most=_SUM),
            saved_cost=_SAVED_COST,
            late_tokens=_SUM,
        ),
    ),
    "Health": obj(
        object=const("health"),
        ready=about(table(YES_NO), "The checks of the readiness probe."),
        bus=obj(configured=YES_NO, up=YES_NO),
        ledger=obj(url=TEXT, healthy=YES_NO, pending=COUNT, bytes=or_null(COUNT)),
        build=obj(version=TEXT, python=TEXT),
        config=obj(file=or_null(TEXT), loaded_at=MOMENT, needs_restart=TEXTS),
    ),
    "Upstreams": _list(_UPSTREAM),
    "Budgets": _list(_BUDGET),
    "Config": obj(
        object=const("config"),
        file=about(or_null(TEXT), "Null: started without one."),
        loaded_at=MOMENT,
        settings=about({"type": "object"}, "As in the file, durations and sizes with units, secrets masked."),
        values=about(items(_VALUE), "Each value by itself, sorted by key, with where it comes from."),
    ),
    "Reloaded": obj(object=const("config.reload"), needs_restart=TEXTS),
    "Purged": obj(object=const("ledger.purge"), dry_run=YES_NO, texts=COUNT, records=COUNT),
    "Attached": obj(
        object=const("ledger.truths"),
        dry_run=YES_NO,
        counts=table(COUNT),
        data=items(obj(upstream_id=TEXT, result=one_of_words(Attached), task_id=or_null(TEXT))),
    ),
    "Untold": _list(TEXT, next_cursor=or_null(TEXT)),
    "Drift": _list(_DRIFT),
    "Me": obj(
        name=TEXT,
        role=one_of_words(("viewer", "operator", "admin")),
        text=YES_NO,
        can=obj(stop=YES_NO, reload=YES_NO, text=YES_NO, playground=YES_NO),
        replica=TEXT,
        version=TEXT,
        started_at=MOMENT,
        demo=YES_NO,
        replicas=YES_NO,
    ),
    "Playground": obj(
        routes=items(obj(path=TEXT, dialects=TEXTS, model=or_null(TEXT), responses=one_of_words(("pass", "emulate")))),
        origin=TEXT,
        needs_key=about(YES_NO, "Whether a call needs a credential of its own."),
        has_keys=about(YES_NO, "Whether the proxy lets only those in whose keys it knows."),
        demo=YES_NO,
    ),
    "PlaygroundSeen": obj(
        task_id=TEXT,
        phase=or_null(TEXT),
        outcome=TEXT,
        cause=or_null(TEXT),
        upstream_closed_ms=or_null(NUMBER),
        characters=_SUM,
        completion_tokens=_SUM,
        demo=or_null(obj(closed=YES_NO, tokens_sent=COUNT, of=COUNT)),
    ),
    "Live": obj(status=const("live")),
    "Ready": obj({"checks": table(YES_NO)}, status=one_of_words(("ready", "not_ready"))),
    "OpenAPI": about(ref("Object"), "This document."),
    "Object": {"type": "object"},
}
"""By name, for `components`."""

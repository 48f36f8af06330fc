"""What of a record is for ever, as exports and events show it."""

import json
from decimal import Decimal

from proxy.core.cloud_event import RECONCILED_TYPE, SETTLED_TYPE, batch, cloud_event
from proxy.core.settled import Settled, Truth, exported
from support.settled import over

TRUTH = Truth("bill", 2000.0, completion_tokens=6, cost=Decimal("0.300"), currency="USD")


def test_an_id_is_made_from_uid_and_revision() -> None:
    """The id does not depend on the place in the ledger."""
    assert Settled(1, 2, over("u1")).id == Settled(99, 2, over("u1")).id == "u1.2"


def test_an_export_has_the_record_and_no_secret() -> None:
    """An export has every field of the record but the owner's full name; the text only where it is asked for."""
    shown = exported(Settled(1, 1, over(text="words", tags={"team": "a"})))
    assert (shown["id"], shown["revision"], shown["cost"], shown["truth"]) == ("u1.1", 1, "0.25", None)
    assert not {"text", "identity", "uid"} & set(shown)
    assert exported(Settled(1, 1, over(text="words")), text=True)["text"] == "words"


def test_a_later_truth_stands_beside_the_numbers() -> None:
    """A revision with a truth shows the record as it was billed; what the truth does not say is null."""
    shown = exported(Settled(4, 2, over(), TRUTH))
    assert (shown["completion_tokens"], shown["cost"]) == (5, "0.25")
    assert shown["truth"] == {
        "source": "bill",
        "at": "1970-01-01T00:33:20.000Z",
        "prompt_tokens": None,
        "completion_tokens": 6,
        "cached_tokens": None,
        "reasoning_tokens": None,
        "cost": "0.3",
        "currency": "USD",
    }


def test_an_end_as_an_event() -> None:
    """An event has what CloudEvents 1.0 asks for, the caller as its subject, and the same bytes each time."""
    made = cloud_event(Settled(1, 1, over(text="words")), "quell")
    event = json.loads(made)
    assert {name: event[name] for name in event if name != "data"} == {
        "specversion": "1.0",
        "id": "u1.1",
        "source": "quell",
        "type": SETTLED_TYPE,
        "subject": "acme",
        "time": "1970-01-01T00:16:41.000Z",
        "datacontenttype": "application/json",
    }
    assert event["data"] == exported(Settled(1, 1, over(text="words")))
    assert event["data"]["object"] == "generation"
    assert b"words" not in made
    assert made == cloud_event(Settled(8, 1, over(text=None)), "quell")


def test_a_later_truth_is_an_event_of_another_type() -> None:
    """Whoever sums up the ends never meets a generation a second time."""
    event = json.loads(cloud_event(Settled(2, 2, over(), TRUTH), "quell"))
    assert (event["type"], event["id"], event["time"]) == (RECONCILED_TYPE, "u1.2", "1970-01-01T00:33:20.000Z")
    assert (event["data"]["completion_tokens"], event["data"]["truth"]["completion_tokens"]) == (5, 6)


def test_a_batch_is_a_json_array() -> None:
    """Events go together as the elements of one array."""
    made = batch([cloud_event(Settled(n, 1, over(f"u{n}")), "quell") for n in (1, 2)])
    assert [event["id"] for event in json.loads(made)] == ["u1.1", "u2.1"]

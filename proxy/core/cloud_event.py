"""CloudEvents 1.0: an ended record, and each later truth about one, as an event of the JSON batch format.

See https://github.com/cloudevents/spec, `formats/json-format.md` and `bindings/http-protocol-binding.md`.
"""

import json
from typing import Final

from proxy.core.receipt import iso
from proxy.core.settled import Settled, exported

BATCH_TYPE: Final = "application/cloudevents-batch+json"

SETTLED_TYPE: Final = "quell.generation.settled"
"""The end of a generation: what is to be billed, once for each generation."""

RECONCILED_TYPE: Final = "quell.generation.reconciled"
"""A later truth about one. A type of its own, so that whoever sums up the ends never counts a generation twice."""


def cloud_event(settled: Settled, source: str) -> bytes:
    """A version of a record as one event; the same bytes whenever it is made.

    `source` and the event's id together name it: a receiver that drops what it has had counts everything once. The
    subject is the caller that is billed. The data are what an export has of it; texts are in no event.
    """
    record, truth = settled.record, settled.truth
    event = {
        "specversion": "1.0",
        "id": settled.id,
        "source": source,
        "type": SETTLED_TYPE if truth is None else RECONCILED_TYPE,
        "subject": record.key_id,
        "time": iso(record.ended_at if truth is None else truth.at),
        "datacontenttype": "application/json",
        "data": exported(settled),
    }
    return json.dumps(event, separators=(",", ":")).encode()


def batch(events: list[bytes]) -> bytes:
    """Events as one body of the type `BATCH_TYPE`."""
    return b"[" + b",".join(events) + b"]"

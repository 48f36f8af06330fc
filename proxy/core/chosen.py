"""Which generations a stop or a list of many means: all that fit every filter given. Pure; it goes between replicas."""

from typing import Self

import msgspec

from proxy.core.generation import Facts
from proxy.core.record import Record


class Chosen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The filters; None, and no tags, mean any. `older_than` is in seconds since the start."""

    identity: str | None = None
    user: str | None = None
    key: str | None = None
    route: str | None = None
    model: str | None = None
    tags: dict[str, str] = {}
    older_than: float | None = None

    def of(self, identity: str) -> Self:
        """The same of one identity only."""
        return msgspec.structs.replace(self, identity=identity)

    def takes(self, facts: Facts, now: float) -> bool:
        """Whether a generation with these facts is meant; `now` is monotonic seconds."""
        return (  # thousands are asked, often: what is not asked for is not looked at
            (self.identity is None or self.identity == facts.identity.name)
            and (self.user is None or self.user == facts.user)
            and (self.key is None or self.key == facts.identity.shown)
            and (self.route is None or self.route == facts.route)
            and (self.model is None or self.model == facts.model)
            and (not self.tags or self.tags.items() <= facts.tags.items())
            and (self.older_than is None or now - facts.started > self.older_than)
        )

    def takes_record(self, record: Record, wall: float) -> bool:
        """The same for a record; `wall` is now, in seconds since the epoch."""
        pairs = (
            (self.identity, record.identity),
            (self.user, record.user),
            (self.key, record.key_id),
            (self.route, record.route),
            (self.model, record.model),
        )
        return (
            all(wanted in (None, found) for wanted, found in pairs)
            and self.tags.items() <= record.tags.items()
            and (self.older_than is None or wall - record.started_at > self.older_than)
        )

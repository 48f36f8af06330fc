"""Use: what was used of a budget, by whom, and how much of it counts when others use it too. Pure."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, NamedTuple, TypeAlias

Per: TypeAlias = Literal["request", "user", "key"]

Subject: TypeAlias = tuple[str, str | None]
"""Whose use it is: a caller's identity, and its user. One caller's users are never another's."""

_NOTHING: Final = Decimal(0)


@dataclass(slots=True)
class Use:
    """What was used."""

    seconds: float = 0.0
    completion_tokens: int = 0
    cost: Decimal = _NOTHING

    def __add__(self, other: "Use") -> "Use":
        tokens = self.completion_tokens + other.completion_tokens
        return Use(self.seconds + other.seconds, tokens, self.cost + other.cost)

    def beyond(self, other: "Use") -> "Use":
        """What it has more than the other, of each; nothing where it has less."""
        return Use(
            max(self.seconds - other.seconds, 0.0),
            max(self.completion_tokens - other.completion_tokens, 0),
            max(self.cost - other.cost, _NOTHING),
        )

    def times(self, number: int) -> "Use":
        """So many times as much."""
        return Use(self.seconds * number, self.completion_tokens * number, self.cost * number)


class Window(NamedTuple):
    """One subject's window: what its use is told to others by. `number` counts windows of that length since 1970."""

    subject: Subject
    per: Per
    length: float
    number: int

    @property
    def ends_at(self) -> float:
        """Its end, in seconds since the epoch."""
        return (self.number + 1) * self.length


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of an account's use at other replicas: `elsewhere` is theirs, at a time when `own` was ours.

    `at` is in monotonic seconds. `said` is what stood there of ourselves, and `missing` names the replicas of which our
    ledger has more than stood there.
    """

    elsewhere: Use
    own: Use
    at: float
    said: bytes | None = None
    missing: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Account:
    """The use of one subject within one window: of what has ended, and so far of what runs. `live`: how much runs.

    `past` is the part of it that other replicas' names stand for in our own ledger: former ones of this replica's, or
    those that share it. `lost` is what this replica told of itself before it lost its ledger. `heard`: None until
    others were heard of.
    """

    use: Use = field(default_factory=Use)
    live: int = 0
    window: Window | None = None
    past: dict[str, Use] = field(default_factory=dict)
    lost: Use = field(default_factory=Use)
    heard: Heard | None = None

    def move(self, before: Use, after: Use) -> None:
        """One of its generations has used more than it had before, or less."""
        use = self.use
        use.seconds += after.seconds - before.seconds
        use.completion_tokens += after.completion_tokens - before.completion_tokens
        use.cost += after.cost - before.cost

    def add(self, more: Use, replica: str, own: str) -> None:
        """The ledger has more, of what the replica with this name ran; `own` is our name.

        What this replica told of a generation that ran when it was killed is lost no more once that is counted.
        """
        self.use = self.use + more
        if replica == own:
            self.lost = self.lost.beyond(more.beyond(Use()))
        else:
            self.past[replica] = self.past.get(replica, Use()) + more

    def own(self) -> Use:
        """What this replica has used, under the name that it has now."""
        use = self.use.beyond(sum(self.past.values(), Use())) if self.past else self.use
        return use + self.lost

    def counted(self, shares: int | None) -> Use:
        """What limits are compared with.

        That is what all replicas have used. With `shares` nothing is heard of the others now, and each is taken to use
        as much as this one: of what was left when they were last heard of, a replica has one of so many shares.
        """
        if self.heard is None:
            return self.use if shares is None else self.use.times(shares)
        own, heard = self.own(), self.heard
        if shares is None:
            return own + heard.elsewhere
        return heard.own + heard.elsewhere + own.beyond(heard.own).times(shares)

"""Stops that came before their generation: bounded, short-lived, used once."""

from proxy.core.generation import Stop
from proxy.core.lifecycle import Cause
from proxy.engine import tombstones
from proxy.engine.tombstones import TOMBSTONE_SECONDS, TOMBSTONES_EACH, Tombstones

STOP = Stop(Cause.CLIENT, "acme", "typo")


def test_a_stop_waits_for_its_id() -> None:
    """A stop is given to the id and the identity that it was for, once."""
    kept = Tombstones()
    kept.remember("acme", "t-1", STOP, 0.0)
    assert kept.take("acme", "t-2", 1.0) is None
    assert kept.take("globex", "t-1", 1.0) is None
    assert kept.take("acme", "t-1", 1.0) is STOP
    assert kept.take("acme", "t-1", 1.0) is None
    assert len(kept) == 0


def test_a_stop_gets_too_old() -> None:
    """After ten seconds a stop is not given any more; a repeated one counts from its last time."""
    kept = Tombstones()
    for task_id in ("t-1", "t-2", "t-3"):
        kept.remember("acme", task_id, STOP, 0.0)
    kept.remember("acme", "t-3", STOP, 5.0)
    assert kept.take("acme", "t-1", TOMBSTONE_SECONDS - 0.1) is STOP
    assert kept.take("acme", "t-2", TOMBSTONE_SECONDS) is None
    assert kept.take("acme", "t-3", TOMBSTONE_SECONDS + 4.9) is STOP


def test_old_ones_are_forgotten() -> None:
    """What is too old costs no memory, once the clock was looked at."""
    kept = Tombstones()
    kept.remember("acme", "t-1", STOP, 0.0)
    kept.remember("acme", "t-2", STOP, 1.0)
    kept.expire(TOMBSTONE_SECONDS)
    assert len(kept) == 1
    kept.expire(TOMBSTONE_SECONDS + 1.0)
    assert len(kept) == 0
    assert not kept._keys_of


def test_a_caller_has_its_bound() -> None:
    """A caller that stops a thousand unknown ids and one more loses its oldest, and nobody else's."""
    kept = Tombstones()
    kept.remember("globex", "t-0", STOP, 0.0)
    for number in range(TOMBSTONES_EACH + 1):
        kept.remember("acme", f"t-{number}", STOP, 0.0)
    kept.remember("acme", "t-1", STOP, 0.0)
    assert len(kept) == TOMBSTONES_EACH + 1
    assert kept.take("acme", "t-0", 1.0) is None
    assert kept.take("acme", "t-1", 1.0) is STOP
    assert kept.take("acme", f"t-{TOMBSTONES_EACH}", 1.0) is STOP
    assert kept.take("globex", "t-0", 1.0) is STOP


def test_all_callers_have_a_bound() -> None:
    """However many callers there are, all their stops together are bounded, and the oldest go."""
    kept = Tombstones()
    for number in range(tombstones.TOMBSTONES_ALL + 1):
        kept.remember(f"caller-{number}", "t-1", STOP, 0.0)
    assert len(kept) == tombstones.TOMBSTONES_ALL
    assert kept.take("caller-0", "t-1", 1.0) is None
    assert kept.take("caller-1", "t-1", 1.0) is STOP


def test_end_users_have_their_own() -> None:
    """A stop for one end user's generation waits beside another's; one for anybody's takes whoever comes first."""
    kept = Tombstones()
    kept.remember("acme", "t-1", STOP, 0.0, "ann")
    kept.remember("acme", "t-1", STOP, 0.0, "bob")
    assert kept.take("acme", "t-1", 1.0, "eve") is None
    assert kept.take("acme", "t-1", 1.0, "bob") is STOP
    assert kept.take("acme", "t-1", 1.0, "bob") is None
    assert kept.take("acme", "t-1", 1.0, "ann") is STOP
    kept.remember("acme", "t-2", STOP, 0.0)
    assert kept.take("acme", "t-2", 1.0, "ann") is STOP
    assert len(kept) == 0

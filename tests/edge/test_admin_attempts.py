"""Slowing those who guess: for each address, over all of them, and in bounded memory."""

import os

import pytest

from proxy.core.errors import Refusal
from proxy.edge.admin.attempts import AGAIN, AGAIN_OF_ALL, MOST_ADDRESSES, TRIES, TRIES_OF_ALL, WRONG_ONES, Attempts


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def fail(attempts: Attempts, address: str) -> None:
    """A guess from an address."""
    attempts.failed(address, os.urandom(32))


def wait(attempts: Attempts, address: str) -> int:
    """Seconds that an address is told to wait; 0: it may try."""
    try:
        attempts.check(address)
    except Refusal as refusal:
        return int(refusal.headers["Retry-After"])
    return 0


def test_an_address_has_some_tries_and_then_one_from_time_to_time() -> None:
    """After its tries an address waits for each further one, and nobody else waits for it."""
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(TRIES):
        assert wait(attempts, "192.0.2.1") == 0
        fail(attempts, "192.0.2.1")
    with pytest.raises(Refusal, match="429 too_many_attempts"):
        attempts.check("192.0.2.1")
    assert wait(attempts, "192.0.2.1") == AGAIN
    assert wait(attempts, "192.0.2.2") == 0
    clock.now += AGAIN - 0.5
    assert wait(attempts, "192.0.2.1") == 1
    clock.now += 0.5
    assert wait(attempts, "192.0.2.1") == 0
    fail(attempts, "192.0.2.1")
    assert wait(attempts, "192.0.2.1") == AGAIN


def test_a_right_token_gives_no_tries_back() -> None:
    """Whoever has one token can not use it to guess another one faster."""
    attempts = Attempts(Clock())
    for _ in range(TRIES):
        fail(attempts, "192.0.2.1")
        attempts.succeeded("192.0.2.1")
    assert wait(attempts, "192.0.2.1") > 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("unknown", "unknown", True),
    ],
)
def test_one_holder_of_addresses_is_one_place(one: str, other: str, *, same: bool) -> None:
    """A network of IPv6 is one place, because whoever has one address in it has all of them."""
    attempts = Attempts(Clock())
    for _ in range(TRIES):
        fail(attempts, one)
    assert (wait(attempts, other) > 0) == same


def test_many_addresses_together_are_slowed_too() -> None:
    """When all of them together failed too often, new addresses wait; one that was right before does not."""
    clock = Clock()
    attempts = Attempts(clock)
    attempts.succeeded("192.0.2.200")
    for number in range(TRIES_OF_ALL):
        fail(attempts, f"198.51.100.{number}")
    assert wait(attempts, "192.0.2.1") == 1
    assert wait(attempts, "192.0.2.200") == 0
    clock.now += AGAIN_OF_ALL
    assert wait(attempts, "192.0.2.1") == 0


def test_the_tables_are_bounded() -> None:
    """However many addresses try, so many are remembered."""
    attempts = Attempts(Clock())
    for number in range(MOST_ADDRESSES + 50):
        fail(attempts, f"10.0.{number // 256}.{number % 256}")
        attempts.succeeded(f"10.1.{number // 256}.{number % 256}")
    assert len(attempts._failed) == len(attempts._known) == MOST_ADDRESSES


def test_the_same_wrong_token_is_known() -> None:
    """Of each address some wrong tokens are remembered, so that whoever repeats one is not taken for guessing."""
    attempts = Attempts(Clock())
    assert not attempts.was_wrong("192.0.2.1", b"0")
    for number in range(WRONG_ONES + 1):
        attempts.failed("192.0.2.1", str(number).encode())
    assert not attempts.was_wrong("192.0.2.1", b"0")
    assert all(attempts.was_wrong("192.0.2.1", str(number).encode()) for number in range(1, WRONG_ONES + 1))
    assert not attempts.was_wrong("192.0.2.2", b"1")

"""The seal of the letters between replicas: who has the secret is heard, once, while it is fresh."""

import hmac

import pytest

from proxy.core import letters
from proxy.core.generation import Stop
from proxy.core.letters import FRESH_SECONDS, ItCame, LetterError, Seal, StopIt, Wish
from proxy.core.lifecycle import Cause

NOW = 1000.0
ASKED = StopIt(
    to="b",
    by="a",
    at=NOW,
    identity="key:acme",
    any_id="t-1",
    uid="u-1",
    user=None,
    confirm=2.0,
    wish=Wish.of(Stop(Cause.CLIENT, "acme", "enough")),
)
A, B = Seal(b"secret", "a"), Seal(b"secret", "b")


def why(sealed: bytes, seal: Seal | None = None, now: float = NOW) -> str:
    """Why a letter is not followed."""
    with pytest.raises(LetterError) as refused:
        (seal or Seal(b"secret", "b")).open(sealed, now)
    assert refused.value.why in letters.WHY
    return refused.value.why


def test_a_letter_is_opened_by_whom_it_is_for() -> None:
    """What one replica closes, another with the same secret opens, with every field."""
    opened = Seal(b"secret", "b").open(A.close(ASKED), NOW)
    assert opened == ASKED
    assert isinstance(opened, StopIt)
    assert opened.wish.stop() == Stop(Cause.CLIENT, "acme", "enough")


def test_a_letter_is_followed_once() -> None:
    """Z15: the same letter again is refused; another one of the same content is not."""
    seal, sealed = Seal(b"secret", "b"), A.close(ASKED)
    seal.open(sealed, NOW)
    assert why(sealed, seal, NOW + 1) == "repeated"
    again = StopIt(**{name: getattr(ASKED, name) for name in ASKED.__struct_fields__ if name != "number"})
    assert again.number != ASKED.number
    seal.open(A.close(again), NOW)


@pytest.mark.parametrize("age", [FRESH_SECONDS + 0.1, -FRESH_SECONDS - 0.1])
def test_an_old_letter_is_refused_while_its_number_is_forgotten(age: float) -> None:
    """Z15: a letter from too long ago, or from the future, is refused, however long numbers are remembered."""
    assert why(A.close(ASKED), now=NOW + age) == "stale"


def test_every_flipped_bit_is_noticed() -> None:
    """S17: a letter that was changed anywhere is forged."""
    sealed = A.close(ASKED)
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        assert why(bytes(changed)) == "forged"


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 31, b"\x00" * 32, b"\xff" * 5000, b'{"type":"stop"}'])
def test_garbage_is_refused(data: bytes) -> None:
    """S17: what is no letter at all is refused."""
    assert why(data) == "forged"


def test_another_secret_is_no_secret() -> None:
    """A letter that was closed with another secret is forged."""
    assert why(Seal(b"other", "a").close(ASKED)) == "forged"


def test_a_letter_for_another_replica_is_not_ours() -> None:
    """A letter that somebody moved to another replica's channel is refused there."""
    assert why(A.close(ASKED), Seal(b"secret", "c")) == "misdirected"


def test_what_is_signed_but_no_letter_is_unreadable() -> None:
    """What another version may write, signed but of no known kind, is refused."""
    seal = Seal(b"secret", "b")
    text = b"\x81\xa4type\xa5other"
    assert why(hmac.digest(seal._key, text, "sha256") + text, seal) == "unreadable"


def test_numbers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many numbers are remembered, and those that can't come again are forgotten first."""
    monkeypatch.setattr(letters, "NUMBERS_MOST", 3)
    seal = Seal(b"secret", "b")
    for index in range(5):
        seal.open(A.close(ItCame(to="b", by="a", at=NOW, identity="i", any_id=str(index), user=None)), NOW)
    assert len(seal._numbers) == 3
    seal.open(A.close(ItCame(to="b", by="a", at=NOW + 100, identity="i", any_id="late", user=None)), NOW + 100)
    assert len(seal._numbers) == 1

"""What replicas tell each other of their use: entries, their sum, and shares of what is left."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.shared_use import Exchange, entry, is_untold, merge, read_entry
from proxy.core.use import Account, Use

NOTHING = Use()
USES = st.builds(
    Use,
    st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000),
    st.integers(0, 10**12),
    st.decimals(0, 10**6, places=12),
)
NAMES = st.sampled_from(["a", "b", "c", "d"])
GARBAGE = st.binary(max_size=30).filter(lambda said: read_entry(said) is None)


def told(by: dict[str, Use]) -> dict[bytes, bytes]:
    """The entries of replicas."""
    return {name.encode(): entry(use) for name, use in by.items()}


def tokens(account: Account, shares: int | None = None) -> int:
    """How many tokens count."""
    return account.counted(shares).completion_tokens


@given(USES)
def test_an_entry_says_what_was_used(use: Use) -> None:
    """Whoever reads an entry knows exactly what was written, to the millisecond and to a cost's last digit."""
    assert read_entry(entry(use)) == use


GARBLED = "", "1/1", "1/1/1/1", "-1/1/1", "1.5/1/1", "1/1/x", "inf/1/1", " 1/1/1", "1/1/1\n", "1 1 1", "9" * 25 + "/1/1"


@pytest.mark.parametrize("said", GARBLED)
def test_whatever_else_stands_there_is_none(said: str) -> None:
    """Only three whole numbers of a sane length are an entry."""
    assert read_entry(said.encode()) is None


@given(st.dictionaries(NAMES, USES), st.dictionaries(NAMES, USES), st.randoms())
def test_a_sum_does_not_depend_on_the_order(by: dict[str, Use], known: dict[str, Use], shuffle: random.Random) -> None:
    """Entries say the same in any order, and when they are merged once more with what was learned from them."""
    known.pop("a", None)
    merged = merge(told(by), "a", known)
    items = list(told(by).items())
    shuffle.shuffle(items)
    assert merge(dict(items), "a", known) == merge(told(by), "a", known)
    assert merge(told(by), "a", merged.others).elsewhere() == merged.elsewhere()


@given(st.dictionaries(NAMES, USES), st.dictionaries(NAMES, USES))
def test_each_replica_counts_once(by: dict[str, Use], known: dict[str, Use]) -> None:
    """The sum has each other replica's larger number once, whether the entries or our ledger say it, and never ours."""
    known.pop("a", None)
    sums = [
        max(by.get(name, NOTHING).completion_tokens, known.get(name, NOTHING).completion_tokens)
        for name in {*by, *known} - {"a"}
    ]
    merged = merge(told(by), "a", known)
    assert merged.elsewhere().completion_tokens == sum(sums)
    assert merged.own == by.get("a")


@given(st.dictionaries(NAMES, USES), st.dictionaries(st.binary(min_size=1, max_size=8), GARBAGE))
def test_garbage_changes_nothing(by: dict[str, Use], garbage: dict[bytes, bytes]) -> None:
    """What is no entry is counted and changes no sum."""
    garbage = {name: said for name, said in garbage.items() if name not in told(by)}
    merged = merge(told(by) | garbage, "a", {})
    assert merged.elsewhere() == merge(told(by), "a", {}).elsewhere()
    assert merged.refused == len(garbage)


@given(
    st.lists(
        st.tuples(NAMES, st.sampled_from(["use", "tell", "lose", "boot", "boot without ledger"]), st.integers(1, 9))
    )
)
def test_replicas_agree_whatever_happens(steps: list[tuple[str, str, int]]) -> None:
    """Every replica counts what all have used exactly once, over restarts and losses of the store, once all have told.

    What a replica lost with its ledger counts too, as far as it was told and the store did not lose it as well.
    """
    store: dict[bytes, bytes] = {}
    accounts = {name: Account() for name in "abcd"}
    ledgers = dict.fromkeys("abcd", 0)
    lost = dict.fromkeys("abcd", 0)

    def tell(name: str) -> None:
        exchange = Exchange(accounts[name], name)
        store.update({who.encode(): said for who, said in exchange.said.items()})
        exchange.hear(dict(store), 0.0)

    for name, what, number in steps:
        if what == "use":
            ledgers[name] += number
            accounts[name].move(NOTHING, Use(completion_tokens=number))
        elif what == "tell":
            tell(name)
        elif what == "lose":
            store.clear()
        else:
            tell(name)
            tell(name)
            if what == "boot without ledger":
                lost[name], ledgers[name] = lost[name] + ledgers[name], 0
            accounts[name] = Account()
            accounts[name].add(Use(completion_tokens=ledgers[name]), name, name)
            tell(name)
    for name in [*"abcd"] * 3:
        tell(name)
    for name, account in accounts.items():
        assert not is_untold(account)
        assert tokens(account) == sum(ledgers.values()) + sum(lost.values()), name


def test_a_share_is_one_of_what_was_left() -> None:
    """While others can't be heard a replica counts itself once for each share, from where they were last heard of."""
    account = Account()
    account.move(NOTHING, Use(completion_tokens=6))
    assert (tokens(account), tokens(account, 3)) == (6, 18)
    Exchange(account, "a").hear(told({"b": Use(completion_tokens=4)}), 0.0)
    assert (tokens(account), tokens(account, 3)) == (10, 10)
    account.move(NOTHING, Use(completion_tokens=5))
    assert (tokens(account), tokens(account, 3), tokens(account, 1)) == (15, 25, 15)


def test_what_a_kill_left_is_not_lost_twice() -> None:
    """What a killed replica had told of, and is counted from its ledger later, counts once."""
    account = Account()
    account.add(Use(completion_tokens=5), "a", "a")
    Exchange(account, "a").hear(told({"a": Use(completion_tokens=12)}), 0.0)
    assert tokens(account) == 12
    account.add(Use(completion_tokens=6), "a", "a")
    assert tokens(account) == 12

"""Sessions and one-time codes: what they stand for, how long, and how many there can be."""

from proxy.edge.admin.sessions import CODE_LIFE, LIFE, MOST, MOST_CODES, MOST_OF_ONE, Sessions, digest_of

ONE, OTHER = digest_of("one"), digest_of("other")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_a_session_stands_for_its_token_until_its_end() -> None:
    """Whoever has the secret is the holder of the token, for twelve hours; then nobody is."""
    clock = Clock()
    sessions = Sessions(clock)
    secret = sessions.begin(ONE)
    assert len(secret) >= 43
    assert sessions.find(secret) == ONE
    assert sessions.find(secret[:-1]) is None
    clock.now += LIFE - 1
    assert sessions.find(secret) == ONE
    clock.now += 1
    assert sessions.find(secret) is None


def test_an_ended_session_is_none_any_more() -> None:
    """Logging out ends this session, and no other one of the same token."""
    sessions = Sessions(Clock())
    secret, kept = sessions.begin(ONE), sessions.begin(ONE)
    assert secret != kept
    sessions.end(secret)
    sessions.end("unknown")
    assert (sessions.find(secret), sessions.find(kept)) == (None, ONE)


def test_no_secret_is_kept_as_it_is() -> None:
    """What is in memory lets nobody in: only hashes are kept."""
    sessions = Sessions(Clock())
    secret, code = sessions.begin(ONE), sessions.make_code(ONE)
    kept = repr(vars(sessions))
    assert secret not in kept
    assert code not in kept


def test_a_code_is_good_once_and_soon() -> None:
    """The second use of a code is nobody's, and so is the first one after ten minutes."""
    clock = Clock()
    sessions = Sessions(clock)
    code, late = sessions.make_code(ONE), sessions.make_code(ONE)
    assert sessions.redeem("unknown") is None
    assert sessions.redeem(code) == ONE
    assert sessions.redeem(code) is None
    clock.now += CODE_LIFE
    assert sessions.redeem(late) is None


def test_a_code_is_no_session_and_a_session_no_code() -> None:
    """Each is taken only where it is meant for."""
    sessions = Sessions(Clock())
    secret, code = sessions.begin(ONE), sessions.make_code(ONE)
    assert sessions.find(code) is None
    assert sessions.redeem(secret) is None
    assert sessions.find(secret) == ONE


def test_one_token_can_not_push_out_the_sessions_of_others() -> None:
    """Of one token the oldest session goes when there are too many, and those of others stay."""
    sessions = Sessions(Clock())
    other = sessions.begin(OTHER)
    secrets = [sessions.begin(ONE) for _ in range(MOST_OF_ONE + 1)]
    assert sessions.find(secrets[0]) is None
    assert all(sessions.find(secret) == ONE for secret in secrets[1:])
    assert sessions.find(other) == OTHER


def test_the_tables_are_bounded() -> None:
    """However many tokens log in and codes are made, so many sessions and codes are kept; the oldest go."""
    sessions = Sessions(Clock())
    secrets = [sessions.begin(digest_of(str(number))) for number in range(MOST + 1)]
    assert sessions.find(secrets[0]) is None
    assert sessions.find(secrets[1]) == digest_of("1")
    codes = [sessions.make_code(ONE) for _ in range(MOST_CODES + 1)]
    assert sessions.redeem(codes[0]) is None
    assert sessions.redeem(codes[1]) == ONE


def test_ended_sessions_make_room() -> None:
    """Those whose time is over do not count."""
    clock = Clock()
    sessions = Sessions(clock)
    for _ in range(MOST_OF_ONE):
        sessions.begin(ONE)
    clock.now += LIFE
    fresh = [sessions.begin(ONE) for _ in range(MOST_OF_ONE)]
    assert sessions.find(fresh[0]) == ONE

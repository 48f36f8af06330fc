"""An inbox of a bus that only keeps what came."""


class Box:
    """An inbox that keeps what came."""

    def __init__(self) -> None:
        self.letters: list[bytes] = []
        self.stops: list[tuple[str, bytes]] = []
        self.waiting: list[tuple[str, bytes]] = []
        self.mail: list[bytes] = []
        self.dead: set[str] = set()
        self.states: list[bool] = []

    def got_letter(self, letter: bytes) -> None:
        """Keep it."""
        self.letters.append(letter)

    def found_stop(self, uid: str, letter: bytes) -> None:
        """Keep it."""
        self.stops.append((uid, letter))

    def found_waiting(self, uid: str, letter: bytes) -> None:
        """Keep it."""
        self.waiting.append((uid, letter))

    def found_mail(self, letter: bytes) -> None:
        """Keep it."""
        self.mail.append(letter)

    def lapsed(self, replica: str) -> None:
        """Keep it."""
        self.dead.add(replica)

    def changed(self, *, is_up: bool) -> None:
        """Keep it."""
        self.states.append(is_up)

"""What may go wrong on the admin listener and is no refusal of a request by itself."""


class AdminTokenError(Exception):
    """The admin token can't be read or made; the message says which file, why, and what to do."""


class ReloadError(Exception):
    """The new settings can't be taken; the old ones stay. Carries one line per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

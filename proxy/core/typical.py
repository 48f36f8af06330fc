"""How long complete answers usually are: what a stopped one is compared with. The newest ones count."""

from collections import deque
from statistics import median
from typing import Final

ANSWERS: Final = 200
"""Answers of one model and route that count."""
PAIRS: Final = 500
"""So many pairs of model and route are known; of more the one goes whose last answer is the oldest."""
ENOUGH: Final = 5
"""From so many answers on they say what is usual."""


class Typical:
    """The completion tokens of complete answers, by model and route; bounded."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str | None, str], deque[int]] = {}

    def note(self, model: str | None, route: str, tokens: int) -> None:
        """One more answer is complete."""
        answers = self._answers.pop((model, route), None)
        if answers is None:
            answers = deque(maxlen=ANSWERS)
            if len(self._answers) >= PAIRS:
                del self._answers[next(iter(self._answers))]
        answers.append(tokens)
        self._answers[model, route] = answers

    def tokens(self, model: str | None, route: str) -> int | None:
        """How many tokens such an answer has, half of them more and half less; None: too few are known."""
        answers = self._answers.get((model, route), ())
        return round(median(answers)) if len(answers) >= ENOUGH else None

"""What the keys do: moving, asking to stop, filtering, sorting, pausing. It changes itself, and says what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple

from proxy.cli.keys import Key
from proxy.cli.top.asked import Asked
from proxy.cli.top.view import Known

LONGEST: Final = 500
"""Characters that one may type."""


class Do(Enum):
    """What a key asks of the outside."""

    QUIT = auto()
    ASK_AGAIN = auto()
    """The filter or the order has changed."""


class StopIt(NamedTuple):
    """A stop that was confirmed. `message_id` is what is stopped, `shown` how it is called."""

    message_id: str
    shown: str
    reason: str


Action = Do | StopIt | None


@dataclass(slots=True)
class Prompt:
    """A line that is typed: a filter, or whether to stop, and why. `about` is what would be stopped."""

    words: str
    typed: str = ""
    about: Known | None = None


@dataclass(slots=True)
class Board:
    """The state of the screen. `selected` is a row's id; `top` is the number of the first row that is shown."""

    asked: Asked = field(default_factory=Asked)
    selected: str | None = None
    top: int = 0
    paused: bool = False
    prompt: Prompt | None = None
    message: str = ""

    def settle(self, rows: Sequence[Known], was_at: int, height: int) -> int:
        """Keep the selection on a row, and that row on the screen of `height` rows; gives its number, -1 for none.

        `was_at` is where it was before: the row that has moved there is taken when the selected one is gone.
        """
        ids = [known.row["id"] for known in rows]
        if not ids:
            self.selected, self.top = None, 0
            return -1
        at = ids.index(self.selected) if self.selected in ids else min(max(was_at, 0), len(ids) - 1)
        self.selected = ids[at]
        self.top = max(min(self.top, at, max(0, len(ids) - height)), at - height + 1, 0)
        return at

    def press(self, key: str, rows: Sequence[Known], at: int, height: int) -> Action:
        """Do what a key does, with the row number `at` selected."""
        self.message = ""
        if self.prompt is not None:
            return self._type(self.prompt, key)
        steps = _STEPS.get(key)
        if steps is not None:
            by = {"page": max(1, height - 1), "all": len(rows)}.get(steps[1], 1)
            if rows:
                self.selected = rows[min(max(at + steps[0] * by, 0), len(rows) - 1)].row["id"]
            return None
        match key:
            case "q" | "Q":
                return Do.QUIT
            case "s" | "S":
                self._ask_to_stop(rows[at] if at >= 0 else None)
            case "/":
                self.prompt = Prompt("filter (user: key: route: model: tag: older:, or any word)", self.asked.text)
            case "o" | "O":
                return self._ask_again(self.asked.next_order())
            case "p" | "P" | " ":
                self.paused = not self.paused
            case Key.ESCAPE if self.asked.text:
                return self._ask_again(Asked("", self.asked.order))
            case _:
                pass
        return None

    def _ask_to_stop(self, known: Known | None) -> None:
        if known is None:
            self.message = "nothing is selected"
        elif known.row.get("cancel_asked"):
            self.message = "it is being stopped already"
        else:
            self.prompt = Prompt(f"Enter stops {named(known)}, Esc does not; why (optional)", "", known)

    def _type(self, prompt: Prompt, key: str) -> Action:
        match key:
            case Key.ESCAPE:
                self.prompt = None
                self.message = "nothing was stopped" if prompt.about else ""
            case Key.ENTER:
                return self._entered(prompt)
            case Key.BACKSPACE:
                prompt.typed = prompt.typed[:-1]
            case Key.CLEAR:
                prompt.typed = ""
            case _ if len(key) == 1 and len(prompt.typed) < LONGEST:
                prompt.typed += key
            case _:
                pass
        return None

    def _entered(self, prompt: Prompt) -> Action:
        typed = prompt.typed.strip()
        if prompt.about is not None:
            self.prompt = None
            return StopIt(prompt.about.row["id"], named(prompt.about), typed)
        asked = Asked(typed, self.asked.order)
        if wrong := asked.wrong():
            self.message = wrong
            return None
        self.prompt = None
        return self._ask_again(asked)

    def _ask_again(self, asked: Asked) -> Action:
        self.asked, self.paused = asked, False
        return Do.ASK_AGAIN


def named(known: Known) -> str:
    """How a row is called where it is spoken of: enough of its id, and whose it is."""
    row = known.row
    whose = [str(row[name]) for name in ("model", "user") if row.get(name)]
    return f"{row['task_id']}" + (f" ({', '.join(whose)})" if whose else "")


_STEPS: Final = {
    Key.UP: (-1, "one"),
    "k": (-1, "one"),
    Key.DOWN: (1, "one"),
    "j": (1, "one"),
    Key.PAGE_UP: (-1, "page"),
    Key.PAGE_DOWN: (1, "page"),
    Key.HOME: (-1, "all"),
    "g": (-1, "all"),
    Key.END: (1, "all"),
    "G": (1, "all"),
}

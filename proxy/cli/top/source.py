"""Where the rows come from: the feed of changes, or, where a proxy has none, its list again and again.

A thread of its own, so that the keys answer while the proxy does not.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from proxy.cli.admin_client import AdminClient, CommandError, Exit, NotServedError
from proxy.cli.top.asked import LIMIT, Asked
from proxy.cli.top.view import from_record

EVERY: Final = 2.0
"""Seconds between two looks at a list, and before a proxy that is away is tried again."""


class News(NamedTuple):
    """Something about the rows. `kind`: `page`, `change` or `summary` as in the feed; `trouble` with its words."""

    kind: str
    told: Mapping[str, Any]


class Source:
    """Follows what runs until it is told to end, or asked for something else; gives what comes to `take`.

    `take` is called from a thread of its own. What ends it for good, such as a wrong token, goes to `fail`.
    """

    def __init__(self, client: AdminClient, take: Callable[[News], None], fail: Callable[[CommandError], None]) -> None:
        self._client, self._take, self._fail = client, take, fail
        self._round = 0
        self._changed = threading.Event()

    def ask(self, asked: Asked) -> None:
        """From now on follow this."""
        self._round += 1
        self._changed.set()
        number, self._changed = self._round, threading.Event()
        threading.Thread(target=self._follow, args=(number, asked, self._changed), daemon=True).start()

    def end(self) -> None:
        """Tell nothing more."""
        self._round += 1
        self._changed.set()

    def _follow(self, number: int, asked: Asked, changed: threading.Event) -> None:
        news: Callable[[Asked, threading.Event], Iterator[News]] = self._feed
        while number == self._round:
            try:
                for each in news(asked, changed):
                    if number != self._round:
                        return
                    self._take(each)
            except NotServedError:
                news = self._polled
                continue
            except CommandError as error:
                if error.code is not Exit.FAILED:
                    if number == self._round:
                        self._fail(error)
                    return
                self._tell_trouble(number, str(error))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._tell_trouble(number, f"the feed sends what is not understood ({type(error).__name__})")
            else:
                self._tell_trouble(number, "the feed has ended")
            changed.wait(EVERY)

    def _tell_trouble(self, number: int, words: str) -> None:
        if number == self._round:
            self._take(News("trouble", {"words": words}))

    def _feed(self, asked: Asked, _changed: threading.Event) -> Iterator[News]:
        query = {**asked.query, **asked.order.query, "limit": str(LIMIT)}
        for event in self._client.events("/feed", query):
            told = json.loads(event.data)
            if event.type in ("page", "change", "summary") and isinstance(told, dict):
                yield News(event.type, told)

    def _polled(self, asked: Asked, changed: threading.Event) -> Iterator[News]:
        while not changed.is_set():
            yield News("page", polled(self._client, asked))
            changed.wait(EVERY)


def polled(client: AdminClient, asked: Asked) -> dict[str, Any]:
    """What runs, as the first event of the feed has it, from the list. Of many it has the newest only.

    Raises:
        CommandError: see `AdminClient.get`.
    """
    last: dict[str, Any] = {}
    live = client.pages({"state": "live", **asked.query}, last.update)
    rows = [from_record(record) for record in itertools.islice(live, LIMIT)]
    counted = {"total": len(rows), "matched": len(rows), "complete": last.get("complete", True)}
    return {"rows": asked.sorted(rows), "polled": True, **counted}

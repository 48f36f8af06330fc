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
        self._now = _Following()

    def ask(self, asked: Asked) -> None:
        """From now on follow this."""
        self._now.end()
        self._now = _Following()
        threading.Thread(target=self._follow, args=(self._now, asked), daemon=True).start()

    def end(self) -> None:
        """Tell nothing more."""
        self._now.end()

    def _follow(self, following: "_Following", asked: Asked) -> None:
        news: Callable[[Asked, _Following], Iterator[News]] = self._feed
        while not following.is_over:
            try:
                for each in news(asked, following):
                    if following.is_over:
                        return
                    self._take(each)
            except NotServedError:
                news = self._polled
                continue
            except CommandError as error:
                if error.code is not Exit.FAILED:
                    if not following.is_over:
                        self._fail(error)
                    return
                self._tell_trouble(following, str(error))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._tell_trouble(following, f"the feed sends what is not understood ({type(error).__name__})")
            else:
                self._tell_trouble(following, "the feed has ended")
            following.wait(EVERY)

    def _tell_trouble(self, following: "_Following", words: str) -> None:
        if not following.is_over:
            self._take(News("trouble", {"words": words}))

    def _feed(self, asked: Asked, following: "_Following") -> Iterator[News]:
        query = {**asked.query, **asked.order.query, "limit": str(LIMIT)}
        for event in self._client.events("/feed", query, following.begun):
            told = json.loads(event.data)
            if event.type in ("page", "change", "summary") and isinstance(told, dict):
                yield News(event.type, told)

    def _polled(self, asked: Asked, following: "_Following") -> Iterator[News]:
        while not following.is_over:
            yield News("page", polled(self._client, asked))
            following.wait(EVERY)


class _Following:
    """What is followed until something else is asked for."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._leave: Callable[[], None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nobody wants to know any more."""
        return self._over.is_set()

    def wait(self, seconds: float) -> None:
        """Wait, but not when it is over."""
        self._over.wait(seconds)

    def begun(self, leave: Callable[[], None]) -> None:
        """A feed is read; `leave` ends that."""
        self._leave = leave
        if self.is_over:
            leave()

    def end(self) -> None:
        """It is over: a feed that says nothing would be held open for nobody."""
        self._over.set()
        if self._leave is not None:
            self._leave()


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

"""A bar for what takes long, on standard error and on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Gives what is to be told how much is done, and of how much; elsewhere than on a terminal nothing is shown."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    with click.progressbar(length=1000, label=label, file=sys.stderr, show_pos=False) as bar:

        def moved(done: int, of: int) -> None:
            bar.update(done * 1000 // max(of, 1) - bar.pos)

        yield moved

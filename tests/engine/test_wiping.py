"""Texts that are deleted: nowhere after the end, but nobody who was still reading is cut off."""

from typing import cast

from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.head import Ending
from proxy.engine.relaying.readers import Reader
from proxy.engine.relaying.tape import Tape
from support.records import a_record


class ATape:
    """A tape that only knows whether it was closed."""

    closed = False

    def close(self) -> None:
        """Note it."""
        self.closed = True


def a_finished() -> tuple[Finished, ATape]:
    """An ended generation with a text, and its tape."""
    tape = ATape()
    record = a_record("uid-1", text="secret")
    return Finished(record, True, cast("Tape", tape), set(), Ending.CLEAN, 10), tape


def test_a_wiped_text_is_gone_at_once() -> None:
    """Wiping takes the text out of the record and lets the tape go."""
    finished, tape = a_finished()
    finished.wipe()
    assert (finished.record.text, finished.wiped, tape.closed) == (None, True, True)


def test_a_reader_still_reads_to_the_end() -> None:
    """Who reads while the text is wiped keeps the tape until it leaves."""
    finished, tape = a_finished()
    reader = Reader(holds=False)
    finished.attach(reader)
    finished.wipe()
    assert not tape.closed
    finished.detach(reader)
    assert tape.closed

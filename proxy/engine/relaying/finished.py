"""What stays of a generation when it is over: its record, and for some time its tape."""

from dataclasses import dataclass, replace

from proxy.core.record import Record
from proxy.engine.relaying.head import Ending
from proxy.engine.relaying.readers import Reader
from proxy.engine.relaying.tape import Tape


@dataclass(slots=True)
class Finished:
    """An ended generation whose tape may still be asked for: for some time, and while anybody reads.

    `whole`: the record has its text. `ending`: how its client's stream ended. `size`: bytes of memory, at the most.
    `aliases`: the ids of its dialect. `wiped`: its text was deleted, and its tape serves nobody any more.
    """

    record: Record
    whole: bool
    tape: Tape
    readers: set[Reader]
    ending: Ending
    size: int
    aliases: tuple[str, ...] = ()
    wiped: bool = False

    def attach(self, reader: Reader) -> None:
        """Keep the tape while this reader is there."""
        self.readers.add(reader)

    def detach(self, reader: Reader) -> None:
        """A reader left. Who was still reading when the text was wiped has read to the end."""
        self.readers.discard(reader)
        self._close_if_wiped()

    def wipe(self) -> None:
        """Forget the text, in the record and on the tape."""
        self.record, self.whole, self.wiped = replace(self.record, text=None), True, True
        self._close_if_wiped()

    def _close_if_wiped(self) -> None:
        if self.wiped and not self.readers:
            self.tape.close()

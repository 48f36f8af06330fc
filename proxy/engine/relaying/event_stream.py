"""A stream of events on its way through a relay: cut at its borders, kept, and looked at where it matters at once."""

from typing import TYPE_CHECKING

from proxy.core.sse import Framer, slices_with
from proxy.core.tee import Tee

if TYPE_CHECKING:
    from proxy.engine.relaying.relay import Relay

NAMING_BLOCKS = 4
"""In so many blocks the upstream's id is looked for; comments may come before the first event."""

DONE = b"[DONE]"
USAGE = b'"usage"'


class EventStream:
    """The events of one answer: a copy is kept, the upstream's id and the terminator are looked for."""

    __slots__ = ("_framer", "_relay", "_strips", "_tee", "_unnamed", "over")

    def __init__(self, relay: "Relay", tee: Tee) -> None:
        self._relay = relay
        self._tee = tee
        self._framer = Framer()
        self._strips = relay.plan.strips_usage or relay.plan.strips_running
        self._unnamed = NAMING_BLOCKS
        self.over = False
        """Whether the terminator came; nothing behind it is of interest."""

    @property
    def oversize(self) -> bool:
        """Whether any event was too large to be held back, and so is missing in the copy."""
        return self._framer.oversize

    def take(self, chunk: bytes) -> bytes:
        """What of the stream can be passed on now that `chunk` came."""
        self._relay.heard()
        framer = self._framer
        block = framer.push(chunk)
        if not framer.oversize:
            return self._look(block) if block else block
        if self._relay.read_on is not None:
            return self._look(framer.whole(block))
        self._relay.generation.partial.oversize = True
        was_amid, self._relay.amid_event = self._relay.amid_event, framer.amid_event
        whole = framer.whole(block)  # bytes of the oversize event stand on one side of it, and go as they are
        before = b"" if block.startswith(whole) else block[: len(block) - len(whole)]
        if was_amid and (whole or not framer.amid_event):
            self._relay.tape.end_large_event(before if whole else block)
        seen = self._look(whole) if whole else whole
        return before + seen if self.over else before + seen + block[len(before) + len(whole) :]

    def rest(self) -> bytes:
        """The last bytes of a stream that ended without a border."""
        tail = self._framer.flush()
        if tail:
            self._tee.keep(tail)
        return tail

    def _look(self, block: bytes) -> bytes:
        """Look at whole events and keep them; gives what the client gets of them."""
        if self._unnamed:
            self._learn_id(block)
        if DONE in block:
            block = self._up_to_done(block)
        if self._tee.keep(block):
            self._tee.fold()
        if self._strips and USAGE in block:
            block = self._stripped(block)
        return block

    def _stripped(self, block: bytes) -> bytes:
        """The block without what was asked for us alone."""
        plan = self._relay.plan
        if plan.strips_usage:
            block = plan.wire.without_extra_usage(block)
        if plan.strips_running:
            block = plan.wire.without_running_usage(block, null=plan.wants_usage)
        return block

    def _learn_id(self, block: bytes) -> None:
        """Learn the upstream's id at once, so that a stop can name it."""
        upstream_id = self._relay.plan.wire.peek_id(block)
        if upstream_id is None:
            self._unnamed -= 1
        else:
            self._unnamed = 0
            self._relay.learned_id(upstream_id)

    def _up_to_done(self, block: bytes) -> bytes:
        """The block up to its terminating event; all of it when the word only stands in somebody's text."""
        for raw, end in slices_with(DONE, block):
            if self._relay.plan.wire.is_done(raw):
                self.over = True
                if (block[end:] + self._framer.tail).strip():
                    self._relay.generation.partial.trailing = True
                return block[:end]
        return block

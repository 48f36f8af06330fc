"""The completion tokens of an answer that is still being made: only what is new is counted, again and again.

A budget looks at it once a flush. The count that is billed is made from the whole texts, once, at the end.
"""

from dataclasses import dataclass
from typing import Final

from proxy.core.choices import Place
from proxy.core.partial import Partial
from proxy.core.record import UsageSource
from proxy.core.token_borders import last_border
from proxy.engine.settling.counting import Counter, estimate

_OPEN_MOST: Final = 512
"""Characters behind the last border that are counted anew each time; beyond that the text is cut without one."""

_SEAM: Final = 128
"""Characters around a cut without a border, by which its cost is told."""


@dataclass(slots=True)
class _Stretch:
    """One of the texts: up to `settled` characters it has `tokens` for good, and `open` more at the last look."""

    size: int = 0
    settled: int = 0
    tokens: int = 0
    open: int = 0


class RunningCount:
    """The running count of one generation.

    It is what the whole texts have so far, but for the last word of each: a prefix of a text may have a token more or
    less than it will have in the whole. Its cost goes with what is new. Not for two updates at once.
    """

    __slots__ = ("_counter", "_encoding", "_estimates", "_stretches")

    def __init__(self, counter: Counter, encoding: str) -> None:
        """Begin at nothing.

        Args:
            counter: the process's one counter.
            encoding: as `encoding_for` gives it.
        """
        self._counter = counter
        self._encoding = encoding
        self._estimates = False
        self._stretches: dict[Place, _Stretch] = {}

    async def update(self, partial: Partial) -> int:
        """The completion tokens so far: of all choices, content, reasoning, refusals and tool calls alike.

        Where the upstream counts along, its running total stands, as it will in the record. What the partial counts but
        does not keep (`limits.partial_text`) is taken to be like what it keeps. Without a tokenizer it is an estimate
        by the number of characters.
        """
        said = partial.usage.completion_tokens if partial.usage else None
        if said is not None and not partial.outgrew_usage:
            return said
        return max(said or 0, await self._made(partial))

    async def _made(self, partial: Partial) -> int:
        """The tokens of everything that was made."""
        tokens = kept = 0
        for place, text in list(partial.counted_texts()):  # the partial may grow while a thread counts
            stretch = self._stretches.get(place)
            if stretch is None:
                stretch = self._stretches[place] = _Stretch()
            if text.size != stretch.size:
                stretch.size = text.size
                await self._count(stretch, text.since(stretch.settled))
            tokens += estimate(stretch.size) if self._estimates else stretch.tokens + stretch.open
            kept += stretch.size
        if partial.clipped and kept:
            return round(tokens * partial.counted_characters / kept)
        return tokens

    async def _count(self, stretch: _Stretch, new: str) -> None:
        """Count the text behind what is settled, and settle what stands before its last border."""
        end = last_border(new)
        if end:
            stretch.tokens += await self._tokens(new[:end]) - self._counter.seam(self._encoding)
        elif len(new) > _OPEN_MOST:
            end = len(new) - _SEAM
            stretch.tokens += await self._tokens(new[:end]) + await self._cost_of_cut(new, end)
        stretch.settled += end
        stretch.open = await self._tokens(new[end:])

    async def _cost_of_cut(self, text: str, at: int) -> int:
        """How many tokens fewer the whole has than the two parts together, told by what stands around the cut."""
        before, after = text[at - _SEAM : at], text[at : at + _SEAM]
        whole = await self._tokens(before + after)
        return whole - await self._tokens(before) - await self._tokens(after)

    async def _tokens(self, text: str) -> int:
        tokens, source = await self._counter.count(text, self._encoding)
        self._estimates = self._estimates or source is UsageSource.ESTIMATE
        return tokens

"""The partial: what is known so far of one generation's answer. A wire format's fold fills it, event by event."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

from proxy.core.choices import Choice, Place, ToolCall
from proxy.core.kept_text import Text
from proxy.core.usage import Usage, together

MAX_TEXT = 1 << 20
"""Characters of text kept by default."""
MAX_CHOICES = 128
"""Choices kept of one answer: the most that OpenAI's `n` allows."""
MAX_TOOL_CALLS = 512
"""Tool calls kept of one answer, far above what any model asks for in one turn."""

_MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class StreamError:
    """What the upstream itself said went wrong; the texts are safe to store and cut to a length."""

    message: str
    type: str = ""
    code: str = ""
    kind: str = "upstream_error"


@dataclass(slots=True)
class Partial:
    """The folded facts of one generation. Bounded: beyond `max_text` characters in all, text is counted, not kept.

    What is kept is raw (an upstream may send half a surrogate pair); every text that leaves by a method can be
    stored and sent: pairs are joined, lone halves become U+FFFD.
    """

    max_text: int = MAX_TEXT
    choices: dict[int, Choice] = field(default_factory=dict)
    finish_reasons: dict[int, str] = field(default_factory=dict)
    """By choice; when an upstream sends two, the last one stands, as in its SDKs."""
    usage_runs: bool = False
    """Whether running totals came, in chunks with choices."""
    usage_chunk: bool = False
    """Whether the extra chunk with usage and no choices came."""
    upstream_id: str | None = None
    upstream_model: str | None = None
    created: int | None = None
    """Seconds since the epoch, as the upstream said."""
    error: StreamError | None = None
    """The first error inside the answer."""
    done: bool = False
    """Whether `[DONE]` came."""
    trailing: bool = False
    """Whether anything came behind `[DONE]`; it is not folded."""
    terminal: bool = False
    """Whether the format's own last event came, for formats that have one."""
    outline: object | None = None
    """What a wire format itself keeps, to end a stream in its own words: how the answer is built, never its texts."""
    ends_with_body: bool = False
    """Whether the answer is whole once its HTTP body ended properly: a JSON answer, or bytes nobody reads."""
    at_start: bool = True
    """Whether no byte of the stream was folded yet (a byte order mark counts only there)."""
    bad_events: int = 0
    oversize: bool = False
    """Whether an event was too large to be folded; whoever runs the framer says so."""
    clipped: bool = False
    """Whether something was counted but not kept."""
    characters: int = 0
    """Unicode code points of content, of all choices, kept or not."""
    counted_characters: int = 0
    """The same of everything that counts as completion tokens: content, reasoning, refusals, tool calls."""
    _total: Usage | None = None
    _running: dict[int, Usage] | None = None
    _usage_ended: bool = False
    """Whether the upstream called its counts those of the whole answer."""
    _usage_at: int = 0
    """`counted_characters` when the upstream counted last."""
    _kept: int = 0
    _tool_calls: int = 0

    def see(self, choice: int) -> None:
        """Note that a choice exists, be it still empty."""
        self._choice(choice)

    def add_content(self, choice: int, text: str) -> None:
        """Add to the answer's text."""
        size = len(text)
        self.characters += size
        found = self.choices.get(choice) or self._choice(choice)
        if found and self._kept + size <= self.max_text:  # the way of nearly every delta
            self._kept += size
            self.counted_characters += size
            found.content.add(text)
        elif (fitting := self._fit(text)) and found:
            found.content.add(fitting)

    def add_contents(self, choice: int, texts: list[str]) -> None:
        """Add several pieces to the answer's text, which came one after the other."""
        self.add_content(choice, "".join(texts))

    def add_reasoning(self, choice: int, text: str) -> None:
        """Add to the text of the model's reasoning."""
        if (fitting := self._fit(text)) and (found := self._choice(choice)):
            found.reasoning = found.reasoning or Text()
            found.reasoning.add(fitting)

    def add_refusal(self, choice: int, text: str) -> None:
        """Add to the text with which the model refuses."""
        if (fitting := self._fit(text)) and (found := self._choice(choice)):
            found.refusal = found.refusal or Text()
            found.refusal.add(fitting)

    def add_tool_call(self, choice: int, index: int, *, ident: str = "", name: str = "", arguments: str = "") -> None:
        """Add to the tool call at `index`. A name that is sent again as a whole is not doubled."""
        found = self._choice(choice)
        call = self._tool_call(found, index) if found else None
        repeated = name != "" and call is not None and name == call.name.value()
        fitting_name = "" if repeated else self._fit(name)
        fitting = self._fit(arguments)
        if call:
            call.id = call.id or ident[:_MAX_NAME]
            if fitting_name:
                call.name.add(fitting_name)
            if fitting:
                call.arguments.add(fitting)

    def finish(self, choice: int, reason: str) -> None:
        """Note the reason with which a choice ended."""
        if self._choice(choice):
            self.finish_reasons[choice] = safe_text(reason[:_MAX_NAME])

    def note_usage(self, usage: Usage, *, final: bool, choice: int | None = None) -> None:
        """Take the upstream's counts; of two of a kind the larger stands, and a total goes before running ones.

        Args:
            usage: what it counted.
            final: whether that is all, as far as it knows.
            choice: whose running total it is, where it came in a chunk of one choice: they add up.
        """
        if choice is None:
            self._total = usage.larger(self._total)
        else:
            self._running = self._running or {}
            self._running[choice] = usage.larger(self._running.get(choice))
        self._usage_ended = self._usage_ended or final
        self.usage_runs = self.usage_runs or not final
        self._usage_at = self.counted_characters

    @property
    def usage(self) -> Usage | None:
        """The upstream's counts so far, running totals or the last ones; None: it sent none."""
        if self._running is None:  # nearly all, and live tables ask thousands
            return self._total
        running = together(self._running.values())
        if self._total is None:
            return running
        several = len(self._running) > 1  # a server may mean the total by each of these
        return self._total.filled(running) if several else self._total.larger(running)

    def end_usage(self) -> None:
        """Take the counts that came, if any did, for those of the whole answer: it is over."""
        self._usage_ended = self._usage_ended or self.usage is not None

    @property
    def usage_is_final(self) -> bool:
        """Whether the counts are those of the whole answer: no running totals, and nothing was said behind them.

        Some servers count as soon as one of several choices has ended, or before they begin.
        """
        return self._usage_ended and not self.outgrew_usage

    @property
    def outgrew_usage(self) -> bool:
        """Whether more came behind the upstream's last counts, so that they are too small."""
        return self.counted_characters > self._usage_at

    def counting_on(self) -> "Partial":
        """A partial that goes on with this answer from here, and keeps no text: what comes is only counted."""
        further = Partial(
            max_text=0,
            finish_reasons=dict(self.finish_reasons),
            upstream_id=self.upstream_id,
            upstream_model=self.upstream_model,
            created=self.created,
            outline=deepcopy(self.outline),
            at_start=self.at_start,
            counted_characters=self.counted_characters,
            _total=self._total,
            _running=None if self._running is None else dict(self._running),
            _usage_ended=self._usage_ended,
            _usage_at=self._usage_at,
        )
        for choice in self.choices:
            further.see(choice)
        return further

    def all_finished(self) -> bool:
        """Whether at least one choice came, and each that came has its finish reason."""
        return bool(self.choices) and len(self.finish_reasons) == len(self.choices)

    def complete(self, *, eof_clean: bool) -> bool:
        """Whether this is a whole answer; `eof_clean` says that the HTTP body ended as announced.

        An end of the connection alone proves nothing: it takes the finish reasons, the format's own last event, or
        `[DONE]` together with a proper end of the body. An answer with an error in it is not whole.
        """
        if self.error:
            return False
        return self.terminal or self.all_finished() or (eof_clean and (self.done or self.ends_with_body))

    def text(self, choice: int = 0) -> str:
        """The content of one choice."""
        return safe_text(self.choices[choice].content.value()) if choice in self.choices else ""

    def reasoning(self, choice: int = 0) -> str:
        """The reasoning of one choice."""
        found = self.choices.get(choice)
        return safe_text(found.reasoning.value()) if found and found.reasoning else ""

    def refusal(self, choice: int = 0) -> str:
        """The refusal of one choice."""
        found = self.choices.get(choice)
        return safe_text(found.refusal.value()) if found and found.refusal else ""

    def tool_calls(self, choice: int = 0) -> list[tuple[str, str, str]]:
        """The tool calls of one choice in order of their index, each as (id, name, arguments so far)."""
        found = self.choices.get(choice)
        calls = sorted((found.tool_calls or {}).items()) if found else []
        return [
            (safe_text(call.id), safe_text(call.name.value()), safe_text(call.arguments.value())) for _, call in calls
        ]

    def take_new_text(self) -> str:
        """The content of choice 0 that came since the last call, for the ledger's pieces.

        Other choices are left out here: joined, the pieces are a prefix of `display_text`.
        """
        return safe_text(self.choices[0].content.take()) if 0 in self.choices else ""

    def display_text(self) -> str:
        """The text for records and people: the content of choice 0, then that of each other, a blank line between."""
        return "\n\n".join(text for choice in sorted(self.choices) if (text := self.text(choice)))

    def counted_texts(self) -> Iterator[tuple[Place, Text]]:
        """Every text kept that counts as completion tokens: content, reasoning, refusals, tool calls' names, arguments.

        Each is counted by itself, since no token reaches from one into another.
        """
        for number, choice in self.choices.items():
            yield from choice.texts(number)

    def _choice(self, index: int) -> Choice | None:
        found = self.choices.get(index)
        if found is None:
            if len(self.choices) >= MAX_CHOICES:
                self.clipped = True
                return None
            found = self.choices[index] = Choice()
        return found

    def _tool_call(self, choice: Choice, index: int) -> ToolCall | None:
        calls = choice.tool_calls
        if calls is None:
            calls = choice.tool_calls = {}
        found = calls.get(index)
        if found is None:
            if self._tool_calls >= MAX_TOOL_CALLS:
                self.clipped = True
                return None
            self._tool_calls += 1
            found = calls[index] = ToolCall()
        return found

    def _fit(self, text: str) -> str:
        """Count a piece, and give as much of it as still fits."""
        size = len(text)
        self.counted_characters += size
        room = self.max_text - self._kept
        if size > room:
            self.clipped = True
            text = text[:room]
        self._kept += len(text)
        return text


def safe_text(text: str) -> str:
    """The text with surrogate pairs joined and lone halves replaced by U+FFFD, so that it can be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text

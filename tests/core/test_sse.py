import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.sse import (
    BOM,
    Framer,
    comment,
    dispatched,
    encode_event,
    events,
    plain_data,
    slices,
    slices_with,
    with_id,
)
from support.recordings import STREAMS, recorded

PIECES = [b"data: a", b"data:b", b"data", b"data:  c", b": note", b"event: e", b"id: 1", b"x", "data: ü".encode(), BOM]
ENDS = [b"\n", b"\r", b"\r\n"]
streams = st.lists(st.sampled_from(PIECES + ENDS * 3), max_size=40).map(b"".join)


def reference_lines(body: bytes) -> list[tuple[bytes, int]]:
    """Every ended line and the offset behind its end, byte after byte by the standard's words."""
    lines, line, at = [], b"", 0
    while at < len(body):
        if body[at] in b"\r\n":
            at += 2 if body[at : at + 2] == b"\r\n" else 1
            lines.append((line, at))
            line = b""
        else:
            line += body[at : at + 1]
            at += 1
    return lines


def reference_border(body: bytes) -> int:
    """The offset behind the last blank line."""
    return max((end for line, end in reference_lines(body) if not line), default=0)


def reference_events(body: bytes, *, bom: bool = True) -> list[tuple[str, bytes]]:
    """Type and data of what a parser dispatches."""
    found, data, kind = [], b"", ""
    for line, _ in reference_lines(body.removeprefix(BOM) if bom else body):
        name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if not line:
            if data:
                found.append((kind or "message", data[:-1]))
            data, kind = b"", ""
        elif name == b"data":
            data += value + b"\n"
        elif name == b"event":
            kind = value.decode()
    return found


def seen(block: bytes, *, at_start: bool = True) -> list[tuple[str, bytes]]:
    """Type and data of what our parser dispatches."""
    return [(event.type, event.data) for event in events(block, at_start=at_start)]


@pytest.mark.parametrize("name", STREAMS)
def test_every_cut_gives_the_same_borders(name: str) -> None:
    """U20: cut in two at any byte, a recording comes out whole, the first part up to its last border."""
    body = recorded(name)
    borders = [end for line, end in reference_lines(body) if not line]
    border = 0
    for cut in range(len(body) + 1):
        if borders and cut >= borders[0]:
            border = borders.pop(0)
        framer = Framer()
        first = framer.push(body[:cut])
        assert len(first) == border
        assert framer.tail == body[border:cut]
        assert first + framer.push(body[cut:]) + framer.flush() == body


@pytest.mark.parametrize("name", STREAMS)
def test_bytewise_is_the_same_as_whole(name: str) -> None:
    """A recording fed byte by byte gives the events of the whole, one at a time."""
    body = recorded(name)
    framer = Framer()
    blocks = [block for at in range(len(body)) if (block := framer.push(body[at : at + 1]))]
    assert b"".join(blocks) + framer.flush() == body
    assert blocks == [raw for raw, _ in slices(body)]
    assert seen(body) == reference_events(body)


@given(streams, st.lists(st.integers(0, 200), max_size=6))
def test_any_line_ends_and_any_cuts_agree_with_the_reference(body: bytes, cuts: list[int]) -> None:
    """U17: LF, CRLF and CR in any mix, cut anywhere (also between CR and LF), give the reference's events."""
    framer, blocks, start = Framer(), [], 0
    for cut in [*sorted(min(cut, len(body)) for cut in cuts), len(body)]:
        blocks.append(framer.push(body[start:cut]))
        start = cut
        assert sum(map(len, blocks)) == reference_border(body[:cut])
    whole = b"".join(blocks)
    assert whole + framer.tail == whole + framer.flush() == body
    split = [event for number, block in enumerate(blocks) for event in seen(block, at_start=not any(blocks[:number]))]
    assert split == seen(whole) == reference_events(whole)


@given(streams)
def test_slices_lose_nothing_and_count_what_is_dispatched(body: bytes) -> None:
    """The slices of any block join to the block, and as many are marked as a parser dispatches."""
    found = slices(body)
    assert b"".join(raw for raw, _ in found) == body
    expected = len(reference_events(body, bom=False))
    assert sum(counts for _, counts in found) == dispatched(body) == len(events(body)) == expected


@given(streams, st.sampled_from([b"data", b"a", b": note", b"x", b"1"]))
@example(b"\ndata: a\n\n\ndata: a", b"a")
def test_slices_with_a_word_are_those_that_have_it(body: bytes, word: bytes) -> None:
    """Cutting out only the events with a word gives the same ones as cutting all, each with its end."""
    end, wanted = 0, []
    for raw, _ in slices(body):
        end += len(raw)
        if word in raw:
            wanted.append((raw, end))
    assert list(slices_with(word, body)) == wanted


@given(streams)
def test_plain_data_agrees_with_the_full_parser(body: bytes) -> None:
    """Where the short way to the data is taken, it gives what the full parser gives."""
    data = plain_data(body)
    if data is not None:
        assert data == [event.data for event in events(body)]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"data: a\ndata: b\n\n", [("message", b"a\nb")]),
        (b"data:a\n\n", [("message", b"a")]),
        (b"data:  a\n\n", [("message", b" a")]),
        (b"data\n\n", [("message", b"")]),
        (b"data:\n\n", [("message", b"")]),
        (b"data\ndata\n\n", [("message", b"\n")]),
        (b"event: x\n\n", []),
        (b"event: x\ndata: a\n\ndata: b\n\n", [("x", b"a"), ("message", b"b")]),
        (b": hello\n\n", []),
        (b": hello\ndata: a\n\n", [("message", b"a")]),
        (b"retry: 5\nfoo: bar\ndatax: 1\nDATA: 2\ndata: a\n\n", [("message", b"a")]),
        (b" data: a\n\n", []),
        (b"data: a:b\n\n", [("message", b"a:b")]),
        (b"data: a", []),
        (b"data: a\n", []),
        (BOM + b"data: a\n\n", [("message", b"a")]),
        (BOM + BOM + b"data: a\n\n", []),
        (b"data: a\n\n" + BOM + b"data: b\n\n", [("message", b"a")]),
        (b"", []),
    ],
)
def test_the_rules_of_the_standard(block: bytes, expected: list[tuple[str, bytes]]) -> None:
    """U18, U19: each rule of the standard's parser, one by one."""
    assert seen(block) == expected
    assert dispatched(block, at_start=True) == len(expected)


def test_a_bom_counts_only_at_the_start() -> None:
    """A byte order mark in front of a later block makes its first field an unknown one."""
    assert events(BOM + b"data: a\n\n") == []
    assert dispatched(BOM + b"data: a\n\n") == 0


def test_ids_are_read_but_not_with_nul() -> None:
    """An event's own id is given; one with NUL is ignored."""
    assert [event.id for event in events(b"id: 7\ndata: a\n\ndata: b\n\nid: 1\0\ndata: c\n\n")] == ["7", None, None]


def test_cr_then_lf_makes_no_new_event() -> None:
    """An event that ends in CR is given at once; the LF that belongs to it passes next, and is no event."""
    framer = Framer()
    assert framer.push(b"data: a\r\n\r") == b"data: a\r\n\r"
    assert framer.push(b"\ndata: b") == b"\n"
    assert framer.push(b"\n\n") == b"data: b\n\n"
    assert dispatched(b"\n") == 0


def test_an_event_over_the_cap_goes_raw() -> None:
    """U21: an event over the cap is not held back, is flagged, and the events behind it are cut properly again."""
    framer = Framer(max_event=10)
    assert framer.push(b"data: 1\n\ndata: 12") == b"data: 1\n\n"
    block = framer.push(b"345678901234567890")
    assert (block, framer.whole(block), framer.tail, framer.oversize) == (b"data: 12345678901234567890", b"", b"", True)
    assert framer.push(b"abc\n") == b"abc\n"
    assert framer.whole(b"abc\n") == b""
    assert framer.amid_event
    block = framer.push(b"\ndata: 2\n\ndata")
    assert (block, framer.whole(block), framer.tail) == (b"\ndata: 2\n\n", b"data: 2\n\n", b"data")
    assert not framer.amid_event
    assert framer.push(b": 3\n\n") == b"data: 3\n\n"
    assert framer.whole(b"data: 3\n\n") == b"data: 3\n\n"
    assert framer.push(b"data: 4\n\n") == framer.whole(b"data: 4\n\n") == b"data: 4\n\n"


def test_whole_events_before_an_oversize_one_are_kept_apart() -> None:
    """When the cap is passed in the middle of a chunk, the whole events before it can still be folded."""
    framer = Framer(max_event=5)
    block = framer.push(b"data: 1\n\ndata: 2345")
    assert block == b"data: 1\n\ndata: 2345"
    assert framer.whole(block) == b"data: 1\n\n"


@given(streams, st.lists(st.integers(0, 200), max_size=6), st.integers(1, 20))
def test_no_byte_is_lost_with_a_small_cap(body: bytes, cuts: list[int], cap: int) -> None:
    """With events over the cap anywhere, all bytes pass in order and no more than the cap is ever held."""
    framer, out, start = Framer(cap), b"", 0
    for cut in [*sorted(min(cut, len(body)) for cut in cuts), len(body)]:
        block = framer.push(body[start:cut])
        assert framer.whole(block) in block
        out += block
        start = cut
        assert len(framer.tail) <= cap
    assert out + framer.flush() == body


def test_written_events_are_read_back() -> None:
    """What is written is read back the same, with its type, its id and lines of any kind in its data."""
    raw = encode_event(b"a\r\nb\rc\n", "x", "9")
    assert [event[:3] for event in events(raw)] == [("x", b"a\nb\nc\n", "9")]
    assert encode_event(b"{}") == b"data: {}\n\n"


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
def test_fields_can_not_be_forged(bad: str) -> None:
    """A line break or NUL in a type or an id is refused, and in a comment it becomes a space."""
    with pytest.raises(ValueError, match="event's event"):
        encode_event(b"", bad)
    with pytest.raises(ValueError, match="event's id"):
        encode_event(b"", None, bad)
    with pytest.raises(ValueError, match="event's id"):
        with_id(b"data: a\n\n", bad)
    assert comment(bad) == b": a b\n\n"
    assert events(comment("\ndata: x\n\n")) == []


def test_our_id_replaces_theirs() -> None:
    """An event gets our id and loses its own, whatever its line ends; data that looks like an id stays."""
    assert with_id(b"data: a\n\n", "4") == b"id: 4\ndata: a\n\n"
    assert with_id(b"id: 1\r\ndata: id\r\nid\r\n\r\n", "4") == b"id: 4\ndata: id\r\n\r\n"
    assert [event.id for event in events(with_id(BOM + b"data: a\n\n", "4"))] == ["4"]
    assert with_id(b"idea: 1\ndata: a\n\n", "4") == b"id: 4\nidea: 1\ndata: a\n\n"

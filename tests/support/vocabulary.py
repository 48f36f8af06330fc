"""Vocabulary files of a few tokens, in the formats that operators have."""

import base64
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MERGES = ("T h", "Th e", "r a", "i n", "ra in", "Ġ Ġ")
"""Pairs that become one token; all else is a token a byte."""


def _bytes_as_letters() -> dict[int, str]:
    """The letter that byte-level vocabularies write for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + number) for number, byte in enumerate(rest)}


def tokenizer_json(path: Path, merges: Sequence[str] = MERGES) -> Path:
    """A Hugging Face tokenizer: a token a byte, and the merges."""
    tokens = [*_bytes_as_letters().values(), *(merge.replace(" ", "") for merge in merges)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": {token: number for number, token in enumerate(tokens)},
        "merges": list(merges),
    }
    whole: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": model,
    }
    path.write_text(json.dumps(whole))
    return path


def tiktoken(path: Path) -> Path:
    """A tiktoken file: a token a byte, and `The` and `rain`."""
    tokens = [*(bytes([byte]) for byte in range(256)), b"Th", b"The", b"ra", b"in", b"rain"]
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % number for number, token in enumerate(tokens)))
    return path


def sentencepiece(path: Path) -> Path:
    """A SentencePiece model, which puts a blank in front of every text, as Llama 2 did: letters, and a few words."""
    words = [f"\u2581{word}" for word in ("", "The", "rain", "fell", "all", "night")]
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<unk>", 2), ("<s>", 3), ("</s>", 3), *((word, 1) for word in (*words, *letters))]
    scores = dict.fromkeys(words[1:4], 0.0)
    path.write_bytes(
        b"".join(_piece(piece, kind, scores.get(piece, -10.0)) for piece, kind in pieces)
        + _message(2, b"\x18\x01")  # the trainer's spec: model_type is Unigram
        + _message(3, _message(1, b"identity") + b"\x20\x00")  # the normalizer's: it leaves blanks as they are
    )
    return path


def _piece(piece: str, kind: int, score: float) -> bytes:
    return _message(1, _message(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))


def _message(number: int, content: bytes) -> bytes:
    """A field of bytes in protobuf's wire format."""
    return bytes([number << 3 | 2, len(content)]) + content

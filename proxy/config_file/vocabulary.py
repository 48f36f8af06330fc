"""Reading a vocabulary file that the operator supplies, through the package `kitoken`."""

import importlib
import os
import stat
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from proxy.core.encodings import Vocabulary

LARGEST: Final = 128 << 20
"""Bytes; the largest vocabularies of 2026 have 35 MB."""

FORMATS: Final = "tokenizer.json (Hugging Face), .tiktoken, .model (SentencePiece), tekken.json (Mistral)"

_TRY: Final = "import sys, kitoken; kitoken.Kitoken.from_file(sys.argv[1]).encode('The rain fell')"
_TRY_SECONDS: Final = 60.0

_PARTS: Final = ("The rain fell", " all night")
"""Two parts of a text, cut where words are."""


class VocabularyError(Exception):
    """The file can't be used; the text says why and what to do."""


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in a file; read anew only when the file has changed. Takes up to seconds: not on the event loop.

    Raises:
        VocabularyError: it can't be read, is no vocabulary, or the package is missing.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file's name"
        raise VocabularyError(f"can't be read ({reason})") from None
    if not stat.S_ISREG(found.st_mode):
        raise VocabularyError("is no file")
    if not os.access(path, os.R_OK):
        raise VocabularyError("can't be read (Permission denied)")
    if found.st_size > LARGEST:
        raise VocabularyError(f"has more than {LARGEST >> 20} MiB, which no vocabulary has")
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=16)
def _read(path: Path, _changed: int, _size: int) -> Vocabulary:
    try:
        made = importlib.import_module("kitoken").Kitoken
    except ImportError:
        raise VocabularyError("needs the package kitoken: pip install 'quell[vocabularies]'") from None
    try:
        _try_elsewhere(path)
        encode = made.from_file(str(path)).encode
        first, second, whole = (len(encode(text)) for text in (*_PARTS, "".join(_PARTS)))
    except ValueError:
        raise VocabularyError(f"is no vocabulary that can be read; the formats are {FORMATS}") from None
    if not whole:
        raise VocabularyError("has no token for plain English, so nothing can be counted with it")
    return Vocabulary(lambda text: len(encode(text)), first + second - whole)


def _try_elsewhere(path: Path) -> None:
    """Read it in a process of its own first: some broken files, an empty one too, make kitoken end its process.

    Raises:
        ValueError: that process did not get through it.
    """
    command: list[Any] = [sys.executable, "-P", "-c", _TRY, path]
    try:
        subprocess.run(command, check=True, timeout=_TRY_SECONDS, capture_output=True)  # noqa: S603 ourselves
    except (subprocess.SubprocessError, OSError) as error:
        raise ValueError("can't be read by kitoken") from error

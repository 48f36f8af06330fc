"""Which vocabulary a model's tokens are counted with: by the settings, else by the model's name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

AUTO: Final = "auto"
"""By the model's name."""

O200K: Final = "o200k_base"
CL100K: Final = "cl100k_base"
VOYAGE3: Final = "voyage3_base"
BUILT_IN: Final = (O200K, CL100K, VOYAGE3)
"""The vocabularies that come with the package `bpe-openai`."""

_MODELS: Final = (
    (("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss", "o1", "o3", "o4", "chatgpt-", "codex-mini"), O200K),
    (("gpt-4", "gpt-3.5", "gpt-35", "text-embedding-", "davinci-002", "babbage-002"), CL100K),
    (("voyage-3",), VOYAGE3),
)
_FINE_TUNED: Final = "ft:"

EncodingSetting: TypeAlias = str | Mapping[str, str]
"""`auto`, a name, a file, or a table of these by patterns of model names."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A vocabulary at hand."""

    count: Callable[[str], int]
    """The number of tokens of a text without lone surrogates. Raises ValueError for one that it can't encode."""
    seam: int = 0
    """How many tokens more two parts of a text have than the whole: some vocabularies begin every text with a blank."""


def check_encoding(encoding: str) -> str:
    """The same encoding, if it can be one; whether its file is there is not looked at.

    Raises:
        ValueError: it is empty, or a name that is unknown.
    """
    if not encoding:
        raise ValueError("is empty")
    if encoding != AUTO and encoding not in BUILT_IN and not is_file(encoding):
        names = ", ".join((AUTO, *BUILT_IN))
        raise ValueError(f"expected one of: {names}; or a vocabulary file, such as ./tokenizer.json")
    return encoding


def is_file(encoding: str) -> bool:
    """Whether an encoding is a vocabulary file: it has an ending or a folder, which no name has."""
    return "." in encoding or "/" in encoding


def shown(encoding: str) -> str:
    """An encoding as records show it: the name, or of a file its last part."""
    return encoding.rpartition("/")[2] if is_file(encoding) else encoding


def each_encoding(setting: EncodingSetting) -> Iterator[str]:
    """Every encoding that a setting names."""
    yield from (setting,) if isinstance(setting, str) else setting.values()


def encoding_for(model: str, setting: EncodingSetting) -> str:
    """The encoding to count a model's tokens with.

    Of a table the first pattern that fits the model's name counts, with or without the provider before its last slash.
    Other providers' models have vocabularies of their own; for these the newest one of OpenAI's is an approximation.
    """
    chosen = setting if isinstance(setting, str) else _chosen(model.lower(), setting)
    return _by_name(model.lower().rpartition("/")[2]) if chosen == AUTO else chosen


def _chosen(model: str, table: Mapping[str, str]) -> str:
    for pattern, encoding in table.items():
        if any(fnmatchcase(name, pattern.lower()) for name in (model, model.rpartition("/")[2])):
            return encoding
    return AUTO


def _by_name(name: str) -> str:
    name = name.removeprefix(_FINE_TUNED)
    return next((encoding for prefixes, encoding in _MODELS if name.startswith(prefixes)), O200K)

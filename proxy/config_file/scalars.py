"""What an unquoted YAML word means here: text, true, false, null, a decimal number.

Anything that YAML readers disagree about is refused.
"""

import re
from decimal import Decimal

Scalar = str | bool | int | Decimal | None

_CONSTANTS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_LONGEST_NUMBER = 18
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_BOOLEAN_WORD = re.compile(r"(?:y|n|yes|no|on|off)", re.IGNORECASE)
_SURPRISES = (
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "a number to the base of 60"),
    (re.compile(r"[-+]?0[0-9_]+"), "an octal number"),
    (re.compile(r"[-+]?0[xX][0-9a-fA-F_]+|[-+]?0[oO][0-7_]+|[-+]?0[bB][01_]+"), "a number to another base"),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?"), "a number with underscores in it"),
    (re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"), "a number with an exponent"),
    (re.compile(r"[-+]?\.[0-9]+|[-+]?[0-9]+\.|\+[0-9.]+|-?0[0-9]+\.[0-9]+"), "a number"),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), "infinity or not a number"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"), "a date"),
    (re.compile(r"="), "a default value"),
)
PLAIN_WORDS_OF = {"bills_after_close": frozenset({"yes", "no"})}
"""Keys whose own values are among the refused words: there the word can mean nothing else."""


def resolve(text: str, key: str | int | None) -> Scalar:
    """The value of an unquoted scalar that stands at `key`.

    Raises:
        ValueError: some YAML readers would take it for something else than it looks like.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _BOOLEAN_WORD.fullmatch(text):
        if isinstance(key, str) and text in PLAIN_WORDS_OF.get(key, ()):
            return text
        raise ValueError(f'{text} without quotes is a boolean to some YAML readers; write "{text}", or true or false')
    if _INTEGER.fullmatch(text) or _DECIMAL.fullmatch(text):
        if len(text) > _LONGEST_NUMBER:
            raise ValueError("a number of so many digits is not taken; if it is text, put it in quotes")
        return Decimal(text) if "." in text else int(text)
    for pattern, meaning in _SURPRISES:
        if pattern.fullmatch(text):
            raise ValueError(
                f'{text} without quotes is {meaning} to some YAML readers; write it out, or "{text}" as text'
            )
    return text

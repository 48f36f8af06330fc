"""The scalar types of the config file: durations, sizes, addresses, counts, names, and the base of every section.

Each parser raises `ValueError` with a text that says what was expected; the loader puts the position before it.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

FROM_FILE = {"from_file": True}
"""The validation context of the loader: there a bare number is no duration and no size, since its unit is a guess."""

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w))+$|\$\{"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(B|kB|KB|MB|GB|KiB|MiB|GiB)$|\$\{"
NAME_PATTERN = r"^[A-Za-z0-9._:-]{1,64}$"

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
BYTES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_DURATION_PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d|w))+")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(B|kB|KB|MB|GB|KiB|MiB|GiB)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 nothing is bound here
_LONGEST = 100 * 365 * 86400.0
_LARGEST = 2**50
_LAST_PORT = 65535


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, and no value is ever repeated in an error's text."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=False)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds. `port` 0 lets the system choose one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def from_here(self) -> "Address":
        """Where this machine finds what listens here: every interface is no place to go to."""
        return Address(_LOOPBACK.get(self.host, self.host), self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def misplaced(at: str, message: str) -> PydanticCustomError:
    """An error of a whole section that the loader shall show at the section's key `at`."""
    # the message goes in as a value, so that braces in it are not taken for placeholders
    return PydanticCustomError("misplaced", "{message}", {"message": message, "at": at})


def parse_duration(text: str) -> float:
    """Seconds of `250ms`, `5s`, `1h30m`.

    Raises:
        ValueError: no unit, an unknown unit, or longer than a hundred years.
    """
    if _NUMBER.fullmatch(text):
        raise ValueError(f"a duration needs a unit: {text}s, {text}m, {text}h (units: ms, s, m, h, d, w)")
    if not _DURATION.fullmatch(text):
        raise ValueError("expected a duration such as 250ms, 30s, 5m or 1h30m (units: ms, s, m, h, d, w)")
    seconds = sum(float(number) * SECONDS[unit] for number, unit in _DURATION_PARTS.findall(text))
    if seconds > _LONGEST:
        raise ValueError("expected a duration of at most a hundred years")
    return seconds


def parse_size(text: str) -> int:
    """Bytes of `512B`, `32KiB`, `20MiB`.

    Raises:
        ValueError: no unit, an unknown unit, or more than 2^50 bytes.
    """
    if _NUMBER.fullmatch(text):
        raise ValueError(f"a size needs a unit: {text}KiB, {text}MiB (units: B, kB, MB, GB, KiB, MiB, GiB)")
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a size such as 512B, 32KiB or 20MiB (units: B, kB, MB, GB, KiB, MiB, GiB)")
    size = round(float(match[1]) * BYTES[match[2]])
    if size > _LARGEST:
        raise ValueError("expected a size of at most 1048576GiB")
    return size


def duration_text(seconds: float) -> str:
    """Seconds as one writes them in the file: in the largest unit in which they are whole, such as `90s` or `1d`."""
    exact = seconds * 1000
    whole = round(exact)
    if not math.isclose(whole, exact):
        return f"{exact:.6f}".rstrip("0") + "ms"
    return _in_units(whole, {unit: round(each * 1000) for unit, each in SECONDS.items()}) if whole else "0s"


def size_text(size: int) -> str:
    """Bytes as one writes them in the file: in the largest unit in which they are whole, such as `20MiB`."""
    return _in_units(size, BYTES)


def _in_units(count: int, units: Mapping[str, int]) -> str:
    unit = max((unit for unit, each in units.items() if count % each == 0), key=lambda unit: units[unit])
    return f"{count // units[unit]}{unit}"


def parse_address(text: str) -> Address:
    """Host and port of `127.0.0.1:8484`, `localhost:8484`, `[::1]:8484`.

    Raises:
        ValueError: no host, no port, a port over 65535, or a host that is neither a name nor an address.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > _LAST_PORT:
        raise ValueError("expected HOST:PORT with a port of 0 to 65535, such as 127.0.0.1:8484")
    if host.startswith("[") and host.endswith("]"):
        try:
            return Address(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        except ValueError:
            raise ValueError(f"{host} is not an IPv6 address") from None
    if not host:
        raise ValueError("the host is missing: 127.0.0.1:PORT for this machine only, 0.0.0.0:PORT for every interface")
    if ":" in host:
        raise ValueError('an IPv6 host stands in brackets, and in quotes: "[::1]:8484"')
    check_host(host)
    return Address(host, int(port))


def check_host(host: str) -> None:
    """Refuse what is neither a host name nor a plain IPv4 address.

    A name whose last label is a number would be taken for an address by some resolvers (`0x7f.1`, `2130706433`).

    Raises:
        ValueError: it is neither.
    """
    last = host.rstrip(".").rpartition(".")[2]
    if re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", last):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError(f"{host} is not an IPv4 address of four decimal numbers") from None
    elif not _HOST_NAME.fullmatch(host):
        raise ValueError(f"{host} is not a host name")


def _measured(parse: Callable[[str], float], kind: str, example: str) -> Callable[[object, ValidationInfo], object]:
    """A validator for durations and sizes: text is parsed; a number is taken from code, never from a file."""

    def validate(value: object, info: ValidationInfo) -> object:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, bool) or value is None or isinstance(value, (dict, list)):
            raise ValueError(f"expected a {kind} such as {example}")
        if info.context == FROM_FILE:
            return parse(str(value))
        return value

    return validate


def _address(value: object) -> object:
    if isinstance(value, Address):
        return value
    if isinstance(value, str):
        return parse_address(value)
    raise ValueError("expected HOST:PORT such as 127.0.0.1:8484")


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a whole number")  # noqa: TRY004 - pydantic collects ValueError, not TypeError
    return value


def one_or_more(value: object) -> object:
    """A single word is a list of one."""
    return (value,) if isinstance(value, str) else value


_duration = BeforeValidator(_measured(parse_duration, "duration", "30s"))
_size = BeforeValidator(_measured(parse_size, "size", "20MiB"))
_as_duration = PlainSerializer(duration_text, when_used="json")
_as_size = PlainSerializer(size_text, when_used="json")
_duration_schema = WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s"]})
_size_schema = WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN, "examples": ["20MiB"]})
_address_schema = WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8484"]})

Duration = Annotated[float, Field(gt=0), _duration, _as_duration, _duration_schema]
"""Seconds, more than none."""
DurationOrZero = Annotated[float, Field(ge=0), _duration, _as_duration, _duration_schema]
"""Seconds."""
Size = Annotated[int, Field(gt=0), _size, _as_size, _size_schema]
"""Bytes."""
Listen = Annotated[Address, BeforeValidator(_address), _address_schema]
Count = Annotated[int, Field(ge=1), BeforeValidator(_no_bool)]
CountOrZero = Annotated[int, Field(ge=0), BeforeValidator(_no_bool)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""1 to 64 of `A-Za-z0-9._:-`: safe in headers, URLs, logs and metric labels."""
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]
Words = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]

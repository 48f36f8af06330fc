"""The price file: read beside the config file, every error with its place, as a whole or not at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

from proxy.config_file.document import LARGEST_FILE, DocumentError, compose, decode
from proxy.config_file.interpolate import Verbatim
from proxy.config_file.price_entries import NamedEntry, PriceEntry, PriceFile, check_model
from proxy.config_file.price_ties import find_ties
from proxy.config_file.problems import Loc, did_you_mean
from proxy.config_file.secret_files import read_beginning
from proxy.config_file.validation import validated
from proxy.config_file.values import Findings, plain_values
from proxy.core.price_list import Entry, PriceList
from proxy.core.prices import Price
from proxy.core.settings.settings import PricesSettings, Settings
from proxy.core.wildcards import Pattern

FILE: Final[Loc] = ("prices", "file")
MODELS: Final[Loc] = ("models",)
DIGEST: Final = 12
"""So many hex digits of the file's SHA-256 stand in the version that records keep."""

_E = TypeVar("_E", bound=PriceEntry)

_SHAPE: Final = "expected version, currency and models"
_ENTRY: Final = 'expected prices, such as {input: "0.15", output: "0.60"}'


@dataclass(frozen=True, slots=True)
class PricesFound:
    """What a price file gave: the list when nothing is wrong with it; each entry's place."""

    path: Path
    table: PriceList | None
    findings: Findings
    places: dict[Loc, Entry]


def read_prices(raw: dict[str, Any], config: Path, findings: Findings) -> PricesFound | None:
    """Read the price file that the config file names, if any.

    That it can't be read at all is an error of the config file, in `findings`.
    """
    section = raw.get("prices")
    name = section.get("file") if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(name, str):
        return None
    path = Path(name)
    read = read_beginning(path, FILE, findings, LARGEST_FILE)
    if read is None:
        return None
    found = Findings(str(_as_named(path, config)), Verbatim())
    places: dict[Loc, Entry] = {}
    data, _ = read
    currency = section.get("currency", PricesSettings.model_fields["currency"].default)
    try:
        head = _read(data, currency, found, places)
    except DocumentError as error:
        found.text_error(error.at, error.message)
        head = None
    if head is None or found.errors:
        return PricesFound(path, None, found, places)
    return PricesFound(path, PriceList(_version(head, data), head.currency, places.values()), found, places)


def find_price_warnings(prices: PricesFound, settings: Settings) -> None:
    """What is valid but probably not meant."""
    for loc, entry in prices.places.items():
        name = entry.upstream
        if name is not None and name not in settings.upstreams:
            message = f"no upstream is named '{name}'{did_you_mean(name, list(settings.upstreams))}"
            prices.findings.warn((*loc, "upstream"), message)


def _as_named(path: Path, config: Path) -> Path:
    """The file's name as the config file's was given, relative or not."""
    folder = config.absolute().parent
    return config.parent / path.relative_to(folder) if path.is_relative_to(folder) else path


def _version(head: PriceFile, data: bytes) -> str:
    return f"{head.version}+{sha256(data).hexdigest()[:DIGEST]}"


def _read(data: bytes, currency: object, found: Findings, places: dict[Loc, Entry]) -> PriceFile | None:
    node = compose(decode(data), found.text_error, _SHAPE)
    raw = plain_values(node, found)
    if not isinstance(raw, dict):
        found.text_error(node.at, _SHAPE)
        return None
    head = validated(PriceFile, raw, found)
    own = raw.get("currency")
    if isinstance(currency, str) and isinstance(own, str) and own != currency and not found.wrong(("currency",)):
        found.error(("currency",), f"is not the prices.currency of the config file, {currency}")
    version = "" if head is None else _version(head, data)
    for loc, model, entry in _entries(raw.get("models"), found):
        places[loc] = _entry(model, entry, str(own), version)
    find_ties(places, found)
    return head


def _entries(listed: Any, found: Findings) -> Iterator[tuple[Loc, str, PriceEntry]]:
    """Each entry that is valid in itself, with its place and its model."""
    if isinstance(listed, dict):
        yield from _by_name(listed, found)
    elif isinstance(listed, list):
        for index, each in enumerate(listed):
            entry = _valid(NamedEntry, each, found, (*MODELS, index))
            if entry is not None:
                yield (*MODELS, index), entry.model, entry
    if not listed and MODELS in found.keys and not found.wrong(MODELS):
        found.error(MODELS, "at least one is needed")
    elif listed and not isinstance(listed, (dict, list)):
        found.error(MODELS, "expected prices by model, or a list of prices that each name their model")


def _by_name(listed: dict[str, Any], found: Findings) -> Iterator[tuple[Loc, str, PriceEntry]]:
    for model, several in listed.items():
        loc = (*MODELS, model)
        try:
            check_model(model)
        except ValueError as error:
            found.key_error(loc, str(error))
            continue
        if several == []:
            found.error(loc, _ENTRY)
        for index, each in enumerate(several if isinstance(several, list) else [several]):
            at = (*loc, index) if isinstance(several, list) else loc
            entry = _valid(PriceEntry, each, found, at)
            if entry is not None:
                yield at, model, entry


def _valid(kind: type[_E], raw: Any, found: Findings, at: Loc) -> _E | None:
    if isinstance(raw, dict):
        return validated(kind, raw, found, at)
    if not found.wrong(at):
        found.error(at, _ENTRY)
    return None


def _entry(model: str, entry: PriceEntry, currency: str, version: str) -> Entry:
    pattern = Pattern(model)
    price = Price(
        input=entry.input,
        output=entry.output,
        cached=entry.input if entry.cached is None else entry.cached,
        reasoning=entry.output if entry.reasoning is None else entry.reasoning,
        per_request=entry.per_request,
        currency=currency,
        version=version,
        model=pattern.text,
    )
    return Entry(pattern, price, entry.upstream, entry.valid_from)

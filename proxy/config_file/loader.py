"""Loading a config file: every error at once, each with its line and column, or valid settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from proxy.config_file.cross_checks import find_errors, find_late_errors, find_warnings
from proxy.config_file.document import LARGEST_FILE, DocumentError, compose, decode, start_from
from proxy.config_file.interpolate import Interpolator
from proxy.config_file.messages import explain
from proxy.config_file.price_file import PricesFound, find_price_warnings, read_prices
from proxy.config_file.problems import Loc, Position, Problem
from proxy.config_file.secret_files import read_secret_files, resolve_plain_files
from proxy.config_file.validation import validated
from proxy.config_file.values import Findings, plain_values
from proxy.core.settings.origin import Origin, Place
from proxy.core.settings.settings import Settings

DEFAULT_BASE_URL = "https://api.openai.com/v1"
FROM_ENVIRONMENT = {"base_url": "OPENAI_BASE_URL", "api_key": "OPENAI_API_KEY"}
"""The variables that `quell run` takes, by the key of the upstream that each sets."""


class EnvironmentSettingsError(Exception):
    """The environment has no usable upstream; the text names the variable and never its value."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file gave: settings when there are no problems, the warnings, the other files that were read.

    `positions` maps a place such as `("routes", 0, "path")` to its line and column.
    """

    settings: Settings | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    files: tuple[Path, ...]
    positions: Mapping[Loc, Position]


def load(path: Path, environ: Mapping[str, str]) -> Loaded:
    """Read a config file. Variables come from `environ`, secrets also from the files that the config names."""
    findings = Findings(str(path), Interpolator(environ))
    try:
        node = compose(decode(_read(path)), findings.text_error)
    except DocumentError as error:
        findings.text_error(error.at, error.message)
        return _loaded(None, findings, None, [])
    raw = plain_values(node, findings)
    if not isinstance(raw, dict):
        findings.text_error(node.at, "expected keys and values, such as version: 1")
        return _loaded(None, findings, None, [])
    if "models" in raw and not raw.keys() & {"upstreams", "routes"}:
        findings.text_error(node.at, "is a price list; check the config file that names it: prices: {file: …}")
        return _loaded(None, findings, None, [])
    folder = path.absolute().parent
    files = [*read_secret_files(raw, folder, findings), *resolve_plain_files(raw, folder, findings)]
    prices = read_prices(raw, path, findings)
    settings = validated(Settings, raw, findings)
    find_errors(raw, findings)
    if settings is not None and not findings.errors:
        find_late_errors(settings, findings)
    if settings is not None and not findings.errors:
        find_warnings(settings, findings)
    if settings is not None:
        settings.coming_from(Origin(str(path), findings.values))
    if settings is not None and prices is not None:
        _take(prices, settings)
        files.append(prices.path)
    return _loaded(settings, findings, prices, files)


def load_env(environ: Mapping[str, str]) -> Settings:
    """The settings of `quell run`: one upstream from `OPENAI_BASE_URL` and `OPENAI_API_KEY`, served below /v1.

    Raises:
        EnvironmentSettingsError: a variable is set to what can't be used.
    """
    upstream = {key: environ[name] for key, name in FROM_ENVIRONMENT.items() if name in environ}
    places: list[Place] = [("upstreams", "openai", key) for key in upstream]
    upstream.setdefault("base_url", DEFAULT_BASE_URL)
    raw = {
        "version": 1,
        "upstreams": {"openai": upstream},
        "routes": [{"path": "/v1", "dialect": "openai", "upstream": "openai"}],
    }
    try:
        return Settings.model_validate(raw).coming_from(Origin().with_others("environment", *places))
    except ValidationError as error:
        details = error.errors()[0]
        name = FROM_ENVIRONMENT[str(details["loc"][-1])]
        raise EnvironmentSettingsError(f"{name}: {explain(details, None)}") from None


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise DocumentError("is a directory; name the file in it")
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise DocumentError(f"there is no such file; {start_from()}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file's name"
        raise DocumentError(f"can't be read ({reason})") from None


def _take(prices: PricesFound, settings: Settings) -> None:
    """Put the price list into the settings that name its file."""
    find_price_warnings(prices, settings)
    if prices.table is not None:
        settings.prices.with_table(prices.table)


def _loaded(settings: Settings | None, findings: Findings, prices: PricesFound | None, files: list[Path]) -> Loaded:
    both = (findings,) if prices is None else (findings, prices.findings)
    problems = tuple(problem for each in both for problem in each.problems())
    warnings = tuple(warning for each in both for warning in sorted(each.warnings))
    return Loaded(None if problems else settings, problems, warnings, tuple(files), findings.values)

"""Loading a config file: every error at once, each with its line and column, or valid settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config_file.cross_checks import find_errors, find_late_errors, find_warnings
from proxy.config_file.document import LARGEST_FILE, DocumentError, compose, decode
from proxy.config_file.interpolate import Interpolator
from proxy.config_file.messages import explain, meant_by, unknown_key
from proxy.config_file.problems import Loc, Position, Problem
from proxy.config_file.secret_files import read_secret_files, resolve_plain_files
from proxy.config_file.values import Findings, plain_values
from proxy.core.settings import Settings
from proxy.core.settings_types import FROM_FILE

DEFAULT_BASE_URL = "https://api.openai.com/v1"


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
        return _loaded(None, findings, [])
    raw = plain_values(node, findings)
    if not isinstance(raw, dict):
        findings.text_error(node.at, "expected keys and values, such as version: 1")
        return _loaded(None, findings, [])
    folder = path.absolute().parent
    files = [*read_secret_files(raw, folder, findings), *resolve_plain_files(raw, folder, findings)]
    settings = _validated(raw, findings)
    find_errors(raw, findings)
    if settings is not None and not findings.errors:
        find_late_errors(settings, findings)
    if settings is not None and not findings.errors:
        find_warnings(settings, findings)
    return _loaded(settings, findings, files)


def load_env(environ: Mapping[str, str]) -> Settings:
    """The settings of `quell run`: one upstream from `OPENAI_BASE_URL` and `OPENAI_API_KEY`, served below /v1.

    Raises:
        EnvironmentSettingsError: a variable is set to what can't be used.
    """
    upstream = {"base_url": environ.get("OPENAI_BASE_URL", DEFAULT_BASE_URL)}
    if "OPENAI_API_KEY" in environ:
        upstream["api_key"] = environ["OPENAI_API_KEY"]
    raw = {
        "version": 1,
        "upstreams": {"openai": upstream},
        "routes": [{"path": "/v1", "dialect": "openai", "upstream": "openai"}],
    }
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        details = error.errors()[0]
        name = {"base_url": "OPENAI_BASE_URL", "api_key": "OPENAI_API_KEY"}[str(details["loc"][-1])]
        raise EnvironmentSettingsError(f"{name}: {explain(details, None)}") from None


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise DocumentError("is a directory; name the file in it")
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise DocumentError("there is no such file; quell init writes a small one to start from") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file's name"
        raise DocumentError(f"can't be read ({reason})") from None


def _validated(raw: dict[str, Any], findings: Findings) -> Settings | None:
    try:
        return Settings.model_validate(raw, context=FROM_FILE)
    except ValidationError as error:
        details = error.errors(include_url=False)
    meant = {meant_by(each["loc"]) for each in details if each["type"] == "extra_forbidden"}
    for each in details:
        if each["type"] != "missing" or each["loc"] not in meant:
            _note(each, raw, findings)
    return None


def _note(each: ErrorDetails, raw: dict[str, Any], findings: Findings) -> None:
    """Turn one refusal into a problem at its place, unless that place has one already."""
    loc = _in_file(raw, each["loc"])
    value = _value_at(raw, loc)
    counted_without_wrong_ones = each["type"] == "too_short" and value
    if findings.wrong(loc) or counted_without_wrong_ones:
        return
    if each["type"] == "extra_forbidden":
        findings.key_error(loc, unknown_key(loc))
    elif loc[-1:] == ("[key]",):
        findings.key_error(loc[:-1], f"'{loc[-2]}' is no name; {explain(each, None)}")
    elif each["type"] == "missing":
        findings.key_error(loc, explain(each, None))
    else:
        if each["type"] == "misplaced":
            if any(wrong[:-1] == loc for wrong in findings.errors):
                return  # the section may only contradict itself because one of its values could not be read
            loc = (*loc, each["ctx"]["at"])
        source = f" (the file says {findings.emptied[loc]})" if loc in findings.emptied else ""
        findings.error(loc, explain(each, value) + source)


def _in_file(raw: Any, loc: Loc) -> Loc:
    """The place without the index that a single word has where a list could stand."""
    return loc[:-1] if loc and isinstance(_value_at(raw, loc[:-1]), str) else loc


def _value_at(raw: Any, loc: Loc) -> Any:
    for part in loc:
        if isinstance(raw, dict):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int):
            raw = raw[part]
        else:
            return None
    return raw


def _loaded(settings: Settings | None, findings: Findings, files: list[Path]) -> Loaded:
    problems = sorted(problem for problems in findings.errors.values() for problem in problems)
    warnings = sorted(findings.warnings)
    return Loaded(None if problems else settings, tuple(problems), tuple(warnings), tuple(files), findings.values)

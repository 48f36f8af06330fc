"""The `*_file` twins of secrets, and the other files that a config names: made absolute, read, looked at."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxy.config_file.problems import Loc, nearest
from proxy.config_file.values import Findings
from proxy.config_file.vocabulary import VocabularyError, read_vocabulary
from proxy.core.encodings import BUILT_IN, check_encoding, is_file

LARGEST_SECRET = 64 * 1024
_WIDER_THAN_0640 = 0o137


def read_secret_files(raw: Any, folder: Path, findings: Findings) -> list[Path]:
    """Put the content of every secret file beside its key; relative names start at the config file's folder.

    Gives the files that were read.
    """
    read = []
    for loc, section, twin in _secrets(raw):
        key = f"{twin}_file"
        name = section.get(key)
        if not isinstance(name, str):
            continue
        if section.get(twin) is not None:
            findings.error((*loc, key), f"both {twin} and {key} are given; keep one of them")
            continue
        path = folder / name
        section[key] = str(path)
        content = _content(path, (*loc, key), findings)
        if content is not None:
            section[twin] = content
            findings.values[*loc, twin] = findings.at((*loc, key))
            read.append(path)
    return read


def resolve_plain_files(raw: Any, folder: Path, findings: Findings) -> list[Path]:
    """Make the names of files without secrets absolute; those that are needed at the start must be readable."""
    needed = []
    for loc, upstream in _named(raw, "upstreams"):
        name = upstream.get("ca_file")
        if isinstance(name, str):
            path = folder / name
            upstream["ca_file"] = str(path)
            if read_beginning(path, (*loc, "ca_file"), findings) is not None:
                needed.append(path)
        needed += _resolve_vocabularies(upstream, loc, folder, findings)
    prices = raw.get("prices") if isinstance(raw, dict) else None
    if isinstance(prices, dict) and isinstance(prices.get("file"), str):
        prices["file"] = str(folder / prices["file"])
    return needed


def _resolve_vocabularies(upstream: dict[str, Any], loc: Loc, folder: Path, findings: Findings) -> Iterator[Path]:
    """Every encoding of an upstream that is a file; each must be a vocabulary, and each other one a known name."""
    value = upstream.get("encoding")
    table, place = (value, (*loc, "encoding")) if isinstance(value, dict) else (upstream, loc)
    for key in list(value) if isinstance(value, dict) else ["encoding"]:
        encoding = table.get(key)
        if not isinstance(encoding, str):
            continue
        if not is_file(encoding):
            _check_name(encoding, (*place, key), findings)
            continue
        path = folder / encoding
        table[key] = str(path)
        try:
            read_vocabulary(path)
        except VocabularyError as error:
            findings.error((*place, key), f"{path}: {error}")
        else:
            yield path


def _check_name(encoding: str, loc: Loc, findings: Findings) -> None:
    try:
        check_encoding(encoding)
    except ValueError as error:
        near = nearest(encoding, BUILT_IN) if encoding else None
        findings.error(loc, f"{error} (did you mean '{near}'?)" if near else str(error))


def _secrets(raw: Any) -> Iterator[tuple[Loc, dict[str, Any], str]]:
    """Each section that may hold a secret: its place, itself, the secret's key."""
    for loc, upstream in _named(raw, "upstreams"):
        yield loc, upstream, "api_key"
    if not isinstance(raw, dict):
        return
    for name, twin in (("admin", "token"), ("bus", "secret"), ("sink", "token")):
        if isinstance(raw.get(name), dict):
            yield (name,), raw[name], twin
    for index, key in _listed(raw.get("keys")):
        yield ("keys", index), key, "hash"
    admin = raw.get("admin")
    for index, token in _listed(admin.get("tokens") if isinstance(admin, dict) else None):
        for twin in ("token", "hash"):
            yield ("admin", "tokens", index), token, twin


def _listed(items: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield index, item


def _named(raw: Any, section: str) -> Iterator[tuple[Loc, dict[str, Any]]]:
    mapping = raw.get(section) if isinstance(raw, dict) else None
    for name, value in mapping.items() if isinstance(mapping, dict) else ():
        if isinstance(value, dict):
            yield (section, name), value


def read_beginning(path: Path, loc: Loc, findings: Findings, most: int = LARGEST_SECRET) -> tuple[bytes, int] | None:
    """The beginning of a file that is named at `loc`, one byte more than `most`, and the file's mode."""
    try:
        with path.open("rb") as file:
            return file.read(most + 1), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file's name"
        findings.error(loc, f"{path}: can't be read ({reason})")
        return None


def _content(path: Path, loc: Loc, findings: Findings) -> str | None:
    found = read_beginning(path, loc, findings)
    if found is None:
        return None
    data, mode = found
    if len(data) > LARGEST_SECRET:
        findings.error(loc, f"{path}: too large for a secret; at most {LARGEST_SECRET} bytes are read")
        return None
    try:
        text = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        findings.error(loc, f"{path}: not text in UTF-8")
        return None
    if not text.strip():
        findings.error(loc, f"{path}: the file is empty")
        return None
    if mode & _WIDER_THAN_0640:
        findings.warn(loc, f"{path}: its mode {mode:04o} lets more people in than 0640; chmod 640 {path}")
    return text

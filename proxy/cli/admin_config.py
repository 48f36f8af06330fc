"""What the commands need of a config file: the admin listener's address and token.

Only these sections are looked at. A command that is typed in another shell than the proxy runs in must not fail for
want of a provider's key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from proxy.config_file.document import DocumentError, compose, decode
from proxy.config_file.interpolate import Interpolator
from proxy.config_file.messages import explain
from proxy.config_file.problems import Loc, Problem, render
from proxy.config_file.secret_files import read_secret_files
from proxy.config_file.values import Findings, plain_values
from proxy.core.settings.scalar_types import FROM_FILE, Section
from proxy.core.settings.settings import Address, AdminSettings, LedgerSettings

SECTIONS = ("admin", "ledger")
_OTHERS = "tokens"
"""Under `admin`: other people's tokens, which whoever types a command may not be able to read."""

T = TypeVar("T", bound=Section)


class AdminConfigError(Exception):
    """The file gives no address or token; the message has one line for each problem."""


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """The admin listener as a config file describes it. `token` is None where the proxy makes one itself.

    Of the sink only whether there is one: what its settings need may be known to the proxy alone.
    """

    listen: Address
    token: str | None
    ledger: LedgerSettings
    has_sink: bool

    @property
    def ledger_url(self) -> str:
        """Where the ledger's file is."""
        return self.ledger.file_url


def read_admin_config(path: Path, environ: Mapping[str, str]) -> AdminConfig:
    """Read the sections `admin` and `ledger` of a config file, and the token's file.

    Raises:
        AdminConfigError: the file can't be read, or something in these sections is wrong.
    """
    findings = Findings(str(path), Interpolator(environ))
    raw = None
    try:
        node = compose(decode(path.read_bytes()), findings.text_error)
        raw = plain_values(node, findings)
        if not isinstance(raw, dict):
            findings.text_error(node.at, "expected keys and values, such as version: 1")
    except DocumentError as error:
        findings.text_error(error.at, error.message)
    except (OSError, ValueError) as error:
        reason = str(error.strerror).lower() if isinstance(error, OSError) else "not a file's name"
        raise AdminConfigError(f"{path}: can't be read ({reason})") from error
    sections = raw if isinstance(raw, dict) else {}
    if isinstance(admin_section := sections.get("admin"), dict):
        admin_section.pop(_OTHERS, None)
    read_secret_files(raw, path.absolute().parent, findings)
    admin = _validated(AdminSettings, sections, "admin", findings)
    ledger = _validated(LedgerSettings, sections, "ledger", findings)
    problems = _problems(findings)
    if problems or admin is None or ledger is None:
        raise AdminConfigError("\n".join(render(problems)))
    token = None if admin.token is None else admin.token.get_secret_value()
    sink = sections.get("sink")
    has_url = isinstance(sink, dict) and bool(sink.get("url"))
    # One whose address only the proxy's environment has is a sink too.
    return AdminConfig(admin.listen, token, ledger, has_sink=has_url or findings.wrong(("sink", "url")))


def _validated(model: type[T], sections: dict[str, object], name: str, findings: Findings) -> T | None:
    try:
        return model.model_validate(sections.get(name, {}), context=FROM_FILE)
    except ValidationError as error:
        details = error.errors(include_url=False)
    for each in details:
        loc: Loc = (name, *each["loc"])
        if each["type"] == "misplaced":
            loc = (*loc, each["ctx"]["at"])
        if not findings.wrong(loc):
            findings.error(loc, explain(each, None))
    return None


def _problems(findings: Findings) -> list[Problem]:
    """What is wrong with the text as a whole, or with the sections that are needed."""
    return sorted(
        problem
        for loc, problems in findings.errors.items()
        if (not loc or loc[0] in ("", *SECTIONS)) and loc[:2] != ("admin", _OTHERS)
        for problem in problems
    )

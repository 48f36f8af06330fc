"""What is wrong, or probably not meant, with the tokens of the admin listener taken together."""

from hashlib import sha256
from typing import Any, Final

from pydantic import SecretStr

from proxy.config_file.problems import Loc
from proxy.config_file.values import Findings
from proxy.core.settings.admin import MAIN_TOKEN
from proxy.core.settings.settings import AdminSettings

SHORT: Final = 16
"""Characters below which a token can be guessed in the long run."""

_PLACE: Final[Loc] = ("admin", "tokens")


def same_names(raw: dict[str, Any], findings: Findings) -> None:
    """An error for each token whose name another one has."""
    admin = raw.get("admin")
    tokens = admin.get("tokens") if isinstance(admin, dict) else None
    seen: dict[str, int] = {}
    for index, token in enumerate(tokens if isinstance(tokens, list) else ()):
        name = token.get("name") if isinstance(token, dict) else None
        if isinstance(name, str) and name in seen:
            line = findings.at((*_PLACE, seen[name])).line
            findings.error((*_PLACE, index, "name"), f"'{name}' is the name of another token already (line {line})")
        elif isinstance(name, str):
            seen[name] = index


def same_tokens(admin: AdminSettings, findings: Findings) -> None:
    """An error for each token that somebody else has too: nobody could say who it was."""
    seen: dict[bytes, str] = {}
    if admin.token is not None:
        seen[sha256(admin.token.get_secret_value().encode()).digest()] = MAIN_TOKEN
    for index, token in enumerate(admin.tokens):
        for digest in token.digests:
            if digest in seen:
                key = "hash" if token.token is None else "token"
                message = f"the same token belongs to {seen[digest]} already; one token names one holder"
                findings.error((*_PLACE, index, key), message)
            seen[digest] = token.name


def token_warnings(admin: AdminSettings, findings: Findings) -> None:
    """Tokens that are easily guessed, and texts that leave the machine."""
    _length(("admin", "token"), admin.token, findings)
    for index, token in enumerate(admin.tokens):
        _length((*_PLACE, index, "token"), token.token, findings)
        if token.text and not admin.listen.is_loopback:
            message = (
                f"{token.name} may see what models wrote, and others can reach the admin listener, which speaks plain "
                "HTTP; serve it through a proxy with TLS, or leave text: false"
            )
            findings.warn((*_PLACE, index, "text"), message)


def _length(loc: Loc, token: SecretStr | None, findings: Findings) -> None:
    if token is not None and len(token.get_secret_value()) < SHORT:
        findings.warn(loc, f"shorter than {SHORT} characters, so it can be guessed; openssl rand -hex 32 makes a token")

"""The settings of the admin listener: where it is, and whom it lets in."""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from proxy.core.roles import Role
from proxy.core.settings.hashes import check_hashes, hash_lines
from proxy.core.settings.scalar_types import Address, Listen, Name, Section, misplaced
from proxy.core.settings.upstream import Credential

MAIN_TOKEN = "admin"  # noqa: S105 a name, no secret
"""The name of the one token that is there without being listed."""


def _not_the_main_one(name: str) -> str:
    if name == MAIN_TOKEN:
        raise ValueError(f"{MAIN_TOKEN} is the name of admin.token; choose another one")
    return name


class AdminTokenSettings(Section):
    """One token of the admin API. `name` stands for its holder, in records and in the log."""

    name: Annotated[Name, AfterValidator(_not_the_main_one)] = Field(
        description="Who holds it: cancelled_by of the stops, and a word in the log."
    )
    role: Role = Field(
        description="viewer reads; operator also stops, and uses the playground; admin also reloads, purges and "
        "attaches later truths."
    )
    text: bool = Field(False, description="Whether its holder may see what models wrote.")
    token: Credential | None = Field(None, description="The token.", repr=False)
    token_file: Path | None = Field(None, description="The file that holds token.")
    hash: Annotated[SecretStr, check_hashes("token")] | None = Field(
        None, description="Instead of token: its SHA-256 as 64 hex digits; several, one a line.", repr=False
    )
    hash_file: Path | None = Field(None, description="The file that holds hash.")

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        has_token = self.token is not None or self.token_file is not None
        has_hash = self.hash is not None or self.hash_file is not None
        if has_token and has_hash:
            raise misplaced("name", "both a token and a hash are given; keep one of them")
        if not has_token and not has_hash:
            raise misplaced("name", "it has no token_file, token, hash_file or hash, so that nobody could use it")
        return self

    @cached_property
    def digests(self) -> frozenset[bytes]:
        """The SHA-256 of every token that is accepted under this name."""
        if self.token is not None:
            return frozenset({sha256(self.token.get_secret_value().encode()).digest()})
        return frozenset(map(bytes.fromhex, hash_lines(self.hash.get_secret_value()))) if self.hash else frozenset()


class AdminSettings(Section):
    """The admin listener: metrics, probes, admin API, operator page."""

    listen: Listen = Field(Address("127.0.0.1", 8485), description="HOST:PORT of the admin listener.")
    token: Credential | None = Field(
        None, description="The main token: role admin, and it may see what models wrote.", repr=False
    )
    token_file: Path | None = Field(
        None, description="The file that holds token. Without one, on loopback, a token is made beside the ledger."
    )
    tokens: tuple[AdminTokenSettings, ...] = Field((), description="Further tokens, each with a role of its own.")

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not self.listen.is_loopback and self.token is None and self.token_file is None:
            raise misplaced("listen", "an admin listener that others can reach needs a token_file (or token)")
        return self

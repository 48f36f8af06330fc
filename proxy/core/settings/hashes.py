"""SHA-256 hashes in the config file: what may stand there for a secret that the file shall not have."""

from typing import Final

from pydantic import AfterValidator, SecretStr

_HASH_OF_NOTHING: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_SHA256_HEX: Final = 64
_HEX: Final = frozenset("0123456789abcdef")


def hash_lines(text: str) -> list[str]:
    """The hashes of a text, one a line; a line may end as `sha256sum` writes it (`…  -`)."""
    return [line.strip().removesuffix(" -").rstrip().lower() for line in text.splitlines() if line.strip()]


def check_hashes(what: str) -> AfterValidator:
    """A validator for a text of hashes, one a line; `what` is hashed, in one word."""

    def check(secret: SecretStr) -> SecretStr:
        lines = hash_lines(secret.get_secret_value())
        if not lines or any(len(line) != _SHA256_HEX or not _HEX.issuperset(line) for line in lines):
            raise ValueError(
                f"expected the SHA-256 of the {what} as 64 hex digits, one a line; "
                f'printf %s "${what.upper()}" | sha256sum prints it'
            )
        if _HASH_OF_NOTHING in lines:
            raise ValueError(f"this is the SHA-256 of nothing: the {what} was empty when it was hashed")
        return secret

    return AfterValidator(check)

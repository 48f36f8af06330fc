"""The tokens of the admin listener in the config file."""

from hashlib import sha256
from pathlib import Path

import pytest

from proxy.cli.admin_config import read_admin_config
from support.config_files import SMALLEST, load_text, problems, warnings

FOO = sha256(b"foo").hexdigest()
LONG = "0123456789abcdef"


def tokens(*entries: str, more: str = "") -> str:
    """A config file with these entries, from line 10 on."""
    lines = "".join(f"    - {entry}\n" for entry in entries)
    return f"{SMALLEST}admin:\n{more}  tokens:\n{lines}"


def test_tokens_come_from_the_file_or_from_files_beside_it(tmp_path: Path) -> None:
    """Each secret has its twin: a file that holds the token, or its hash."""
    for name, content in (("ann", f"{LONG}-ann\n"), ("bob", f"{FOO}  -\n")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    loaded = load_text(
        tmp_path,
        tokens(
            "{name: ann, role: operator, token_file: ann}",
            "{name: bob, role: viewer, hash_file: bob, text: true}",
            f"{{name: cyd, role: admin, token: {LONG}-cyd}}",
        ),
    )
    assert (problems(loaded), warnings(loaded)) == ([], [])
    assert loaded.settings is not None
    ann, bob, cyd = loaded.settings.admin.tokens
    assert ann.digests == {sha256(f"{LONG}-ann".encode()).digest()}
    assert bob.digests == {sha256(b"foo").digest()}
    assert (ann.text, bob.text) == (False, True)
    assert cyd.digests == {sha256(f"{LONG}-cyd".encode()).digest()}
    assert set(loaded.files) == {tmp_path / "ann", tmp_path / "bob"}
    assert LONG not in repr(loaded.settings)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (f"{{name: ann, role: viewr, token: {LONG}}}", "role: expected one of: viewer, operator, admin (did you mean"),
        (f"{{name: ann, token: {LONG}}}", "role is missing: viewer reads; operator also stops"),
        (f"{{role: viewer, token: {LONG}}}", "name is missing"),
        ("{name: ann, role: viewer}", "name: it has no token_file, token, hash_file or hash"),
        (f"{{name: ann, role: viewer, token: {LONG}, hash: {FOO}}}", "name: both a token and a hash are given"),
        ("{name: ann, role: viewer, token: 'two words'}", "token: contains a blank"),
        (f"{{name: admin, role: viewer, token: {LONG}}}", "name: admin is the name of admin.token"),
        (f"{{name: 'a b', role: viewer, token: {LONG}}}", "name: expected 1 to 64 of"),
        ("{name: ann, role: viewer, hash: abc}", "hash: expected the SHA-256 of the token as 64 hex digits"),
        (f"{{name: ann, role: viewer, hash: {sha256(b'').hexdigest()}}}", "hash: this is the SHA-256 of nothing"),
        (f"{{name: ann, role: viewer, token: {LONG}, text: maybe}}", "text: expected true or false"),
        (f"{{name: ann, role: viewer, tokn: {LONG}}}", "unknown key 'tokn' (did you mean 'token'?)"),
        ("{name: ann, role: viewer, token_file: nothere}", "token_file: "),
    ],
)
def test_what_is_wrong_with_a_token_is_said_at_its_place(tmp_path: Path, entry: str, message: str) -> None:
    """One error, with its line and what was expected, and without the token."""
    found = problems(load_text(tmp_path, tokens(entry)))
    assert len(found) == 1, found
    assert found[0].startswith("11:")
    assert message in found[0]
    assert LONG not in found[0]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            f"{{name: ann, role: viewer, token: {LONG}}}",
            f"{{name: ann, role: admin, token: {LONG}2}}",
            "admin.tokens[1].name: 'ann' is the name of another token already (line 11)",
        ),
        (
            f"{{name: ann, role: viewer, token: {LONG}}}",
            f"{{name: bob, role: admin, token: {LONG}}}",
            "admin.tokens[1].token: the same token belongs to ann already",
        ),
        (
            "{name: ann, role: viewer, token: foo}",
            f"{{name: bob, role: admin, hash: {FOO}}}",
            "admin.tokens[1].hash: the same token belongs to ann already",
        ),
    ],
)
def test_one_token_names_one_holder(tmp_path: Path, first: str, second: str, message: str) -> None:
    """Names and tokens are there once, be one of them a token and the other its hash."""
    (found,) = problems(load_text(tmp_path, tokens(first, second)))
    assert message in found


def test_the_main_token_is_nobody_elses(tmp_path: Path) -> None:
    """A listed token that is the main one too is refused."""
    text = tokens(f"{{name: ann, role: viewer, token: {LONG}}}", more=f"  token: {LONG}\n")
    (found,) = problems(load_text(tmp_path, text))
    assert "admin.tokens[0].token: the same token belongs to admin already" in found


@pytest.mark.parametrize(
    ("more", "entry", "message"),
    [
        ("", "{name: ann, role: viewer, token: short}", "11:40: admin.tokens[0].token: shorter than 16 characters"),
        ("  token: short\n", f"{{name: ann, role: viewer, token: {LONG}}}", "admin.token: shorter than 16 characters"),
        (
            f"  listen: 0.0.0.0:8485\n  token: {LONG}0\n",
            f"{{name: ann, role: viewer, text: true, token: {LONG}}}",
            "admin.tokens[0].text: ann may see what models wrote, and others can reach the admin listener",
        ),
    ],
)
def test_what_is_easily_guessed_or_overheard_is_a_warning(tmp_path: Path, more: str, entry: str, message: str) -> None:
    """It is valid, and probably not meant."""
    loaded = load_text(tmp_path, tokens(entry, more=more))
    assert problems(loaded) == []
    (found,) = warnings(loaded)
    assert message in found


def test_listed_tokens_do_not_open_the_listener_to_others(tmp_path: Path) -> None:
    """On another address than loopback the main token is still asked for."""
    text = tokens(f"{{name: ann, role: viewer, token: {LONG}}}", more="  listen: 0.0.0.0:8485\n")
    (found,) = problems(load_text(tmp_path, text))
    assert "needs a token_file (or token)" in found


def test_a_command_does_not_need_other_peoples_tokens(tmp_path: Path) -> None:
    """Whoever types a command with --config may not be able to read the files or variables of other tokens."""
    file = tmp_path / "quell.yaml"
    entries = ("{name: ann, role: viewer, token_file: nothere}", "{name: bob, role: viewer, token: '${NOT_SET}'}")
    file.write_text(tokens(*entries, more=f"  token: {LONG}\n"))
    assert read_admin_config(file, {}).token == LONG

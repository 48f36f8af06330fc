from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config_file import EnvironmentSettingsError, load, load_env
from support.config_files import SMALLEST, load_text, problems

WRONG_IN_MANY_WAYS = """\
version: 2
listen: 22:22
admin: {listen: 0.0.0.0:8485}
upstreams:
  openai:
    bse_url: https://api.openai.com/v1
    api_key: ${NOT_SET}
    timeouts: {connect: 5, total: 30q}
  other:
    base_url: ftp://x
    on_stop: call
    slots: true
routes:
  - path: v1
    dialect: opnai
    upstream: opneai
  - path: /v2
    dialect: openai
    upstrem: openai
    tags: {team: no, n: 3.10}
limits: {streams: 0, body: 20}
workers: 3
routs: []
"""


def test_a_price_list_is_no_config_file(tmp_path: Path) -> None:
    """Whoever checks the price list itself is told which file to check, not that its keys are unknown."""
    told = problems(load_text(tmp_path, 'version: "1"\ncurrency: USD\nmodels: {m: {input: "1", output: "1"}}\n'))
    assert told == ["1:1: is a price list; check the config file that names it: prices: {file: …}"]


def test_every_error_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """One run names all errors, each with its line and column, the nearest word for a wrong one."""
    loaded = load_text(tmp_path, WRONG_IN_MANY_WAYS)
    assert loaded.settings is None
    assert problems(loaded) == [
        "1:10: version: this program reads files of version 1; write version: 1",
        (
            "2:9: listen: 22:22 without quotes is a number to the base of 60 to some YAML readers; "
            'write it out, or "22:22" as text'
        ),
        "3:17: admin.listen: an admin listener that others can reach needs a token_file (or token)",
        "6:5: unknown key 'bse_url' (did you mean 'base_url'?)",
        ("7:14: upstreams.openai.api_key: the variable NOT_SET is not set; set it, or give a default: ${NOT_SET:-…}"),
        ("8:25: upstreams.openai.timeouts.connect: a duration needs a unit: 5s, 5m, 5h (units: ms, s, m, h, d, w)"),
        (
            "8:35: upstreams.openai.timeouts.total: expected a duration such as 250ms, 30s, 5m or 1h30m "
            "(units: ms, s, m, h, d, w)"
        ),
        "10:15: upstreams.other.base_url: expected a URL starting with http:// or https://",
        "12:12: upstreams.other.slots: expected a whole number",
        "14:11: routes[0].path: a path starts with a slash: /v1",
        (
            "15:14: routes[0].dialect: expected one of: openai, assistants, dify, async_messages, aitronos, anthropic "
            "(did you mean 'openai'?)"
        ),
        "16:15: routes[0].upstream: no upstream is named 'opneai' (did you mean 'openai'?)",
        "19:5: unknown key 'upstrem' (did you mean 'upstream'?)",
        (
            "20:18: routes[1].tags.team: no without quotes is a boolean to some YAML readers; "
            'write "no", or true or false'
        ),
        "20:25: routes[1].tags.n: expected text; put it in quotes if it is meant as text",
        "21:19: limits.streams: expected at least 1",
        "21:28: limits.body: a size needs a unit: 20KiB, 20MiB (units: B, kB, MB, GB, KiB, MiB, GiB)",
        "22:10: workers: more than one worker needs a bus, so that a stop reaches the right one; set bus.url",
        "23:1: unknown key 'routs' (did you mean 'routes'?)",
    ]


def test_the_smallest_file_is_valid(tmp_path: Path) -> None:
    """The file of the first ten minutes needs nothing else."""
    loaded = load_text(tmp_path, SMALLEST)
    assert (problems(loaded), loaded.warnings) == ([], ())
    assert loaded.settings is not None
    assert loaded.settings.routes[0].upstream == "openai"


@pytest.mark.parametrize("name", ["nothere.yaml", "", "quell\0.yaml", "quell.yaml/x"])
def test_a_file_that_can_not_be_read_is_one_error(tmp_path: Path, name: str) -> None:
    """A missing file, a folder or an impossible name is said in one line; nothing is assumed instead."""
    (tmp_path / "quell.yaml").write_text(SMALLEST)
    loaded = load(tmp_path / name, {})
    assert loaded.settings is None
    assert [(problem.line, problem.column) for problem in loaded.problems] == [(1, 1)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("limits:", "2:8: limits: expected keys and values; without any, write {} or remove the key"),
        ("keys: {id: a}", "2:7: keys: expected a list, such as [a, b]"),
        ("replica: a b", "2:10: replica: expected 1 to 64 of A-Za-z0-9._:-"),
        ("prices: {currency: euro}", "2:20: prices.currency: expected three capital letters, such as USD"),
        ("budgets: [{per: request, cost: much}]", "2:32: budgets[0].cost: expected a number such as 0.25"),
        ("cancellation: {finish_reason: halt}", "2:31: cancellation.finish_reason: expected one of: stop, cancelled"),
        ("listen: [a]", "2:9: listen: expected HOST:PORT such as 127.0.0.1:8484"),
        ("drain: {timeout: [5s]}", "2:18: drain.timeout: expected a duration such as 30s"),
        ("limits: {streams: many}", "2:19: limits.streams: expected a whole number"),
        ("limits: {streams: 1.5}", "2:19: limits.streams: expected a whole number"),
        ("zzz: 1", "2:1: unknown key 'zzz' (known: admin, "),
        ("admin: {tokn_file: x}", "2:9: unknown key 'tokn_file' (did you mean 'token_file'?)"),
        ("budgets: [{per: request, costs: 1}]", "2:26: unknown key 'costs' (did you mean 'cost'?)"),
        ("drain: {readyDelay: 5s}", "2:9: unknown key 'readyDelay' (did you mean 'ready_delay'?)"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(tmp_path: Path, value: str, reason: str) -> None:
    """The message has the key, the expectation and a way out."""
    text = SMALLEST.replace("version: 1\n", f"version: 1\n{value}\n")
    found = problems(load_text(tmp_path, text))
    assert len(found) == 1
    assert found[0].startswith(reason)


def test_what_is_missing_is_told_at_the_section_that_lacks_it(tmp_path: Path) -> None:
    """A missing key has no line of its own; its section has."""
    text = SMALLEST.replace("    dialect: openai\n", "").replace("    base_url: https://api.openai.com/v1", "    {}")
    assert problems(load_text(tmp_path, text)) == [
        "3:3: base_url is missing: Where the provider's API starts; a route's path is replaced by it.",
        "6:5: dialect is missing: The API the client speaks, or a list; the earlier one serves a shared endpoint.",
    ]


def test_an_empty_variable_is_named_where_something_is_needed(tmp_path: Path) -> None:
    """A secret from a variable that is set to nothing is an error with the variable's name."""
    text = SMALLEST.replace("routes:", "    api_key: ${OPENAI_API_KEY}\nroutes:")
    assert problems(load_text(tmp_path, text, {"OPENAI_API_KEY": ""})) == [
        (
            "5:14: upstreams.openai.api_key: is empty: set the variable or the file that it comes from, "
            "or remove the key (the file says ${OPENAI_API_KEY})"
        )
    ]


def test_a_section_is_not_blamed_for_a_value_that_could_not_be_read(tmp_path: Path) -> None:
    """A key whose hash is not set has one error, not another one for having no hash."""
    found = problems(load_text(tmp_path, SMALLEST + 'keys: [{id: a, hash: "${NOT_SET}"}]\n'))
    assert [line.partition(" the")[0] for line in found] == ["9:22: keys[0].hash:"]


def test_a_list_of_wrong_items_is_not_called_empty(tmp_path: Path) -> None:
    """Only what is wrong is told, not what follows from it."""
    text = SMALLEST.replace("dialect: openai", "dialect: [opnai]")
    assert [line.partition(" expected")[0] for line in problems(load_text(tmp_path, text))] == [
        "7:15: routes[0].dialect[0]:"
    ]


def test_an_upstream_name_that_is_no_name_is_told_at_the_key(tmp_path: Path) -> None:
    """Names end up in metrics and headers, so that blanks have no place in them."""
    text = SMALLEST.replace("  openai:\n", '  "open ai":\n').replace("upstream: openai", 'upstream: "open ai"')
    assert problems(load_text(tmp_path, text)) == ["3:3: 'open ai' is no name; expected 1 to 64 of A-Za-z0-9._:-"]


def test_no_value_of_a_variable_is_ever_in_a_message(tmp_path: Path) -> None:
    """A secret that was filled in at a wrong place is shown as its variable."""
    canary = "canary-4711.secret"
    for key, value in {
        "path: /v1": "path: ${KEY}",
        "upstream: openai": "upstream: ${KEY}",
        "version: 1": "version: 1\nlisten: ${KEY}:99999999",
        "https://api.openai.com/v1": "https://${KEY}@host/",
    }.items():
        loaded = load_text(tmp_path, SMALLEST.replace(key, value), {"KEY": canary})
        assert loaded.problems
        assert canary not in f"{loaded!r}{problems(loaded)}"


def test_a_key_that_stands_in_the_file_is_not_repeated_either(tmp_path: Path) -> None:
    """Not even a literal key at the wrong place comes back in a message."""
    loaded = load_text(tmp_path, SMALLEST.replace("upstream: openai", "upstream: sk-proj-abcdefgh12345678"))
    assert "abcdefgh" not in f"{loaded!r}"


def test_a_message_never_moves_the_terminal(tmp_path: Path) -> None:
    """Control characters of the file are printed as escapes."""
    loaded = load_text(tmp_path, SMALLEST + '"\\e[2J": 1\n')
    assert "unknown key '\\x1b[2J'" in problems(loaded)[0]


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (SMALLEST + text).encode(errors="replace")))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_settings_or_located_problems(tmp_path: Path, content: bytes) -> None:
    """Whatever is in the file: valid settings, or at least one problem inside it, and no exception."""
    loaded = load_text(tmp_path, content)
    assert (loaded.settings is None) == bool(loaded.problems)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in loaded.problems)


def test_the_environment_alone_makes_one_upstream() -> None:
    """`quell run` needs only what the SDKs need."""
    made = load_env({"OPENAI_API_KEY": "sk-x"})
    upstream = made.upstreams["openai"]
    assert upstream.base_url == "https://api.openai.com/v1"
    assert upstream.api_key is not None
    assert upstream.api_key.get_secret_value() == "sk-x"
    assert (made.routes[0].path, made.routes[0].dialects) == ("/v1", ("openai",))
    assert (
        load_env({"OPENAI_BASE_URL": "http://127.0.0.1:1/api/"}).upstreams["openai"].base_url
        == "http://127.0.0.1:1/api"
    )


@pytest.mark.parametrize("environ", [{"OPENAI_BASE_URL": "canary-secret"}, {"OPENAI_API_KEY": "canary secret"}])
def test_a_wrong_environment_names_the_variable_and_not_its_value(environ: dict[str, str]) -> None:
    """The error of `quell run` says which variable to change."""
    with pytest.raises(EnvironmentSettingsError) as caught:
        load_env(environ)
    assert next(iter(environ)) in str(caught.value)
    assert "canary" not in str(caught.value)


def test_an_empty_key_in_the_environment_is_an_error() -> None:
    """A variable that is set to nothing is a mistake, not a caller without a key."""
    with pytest.raises(EnvironmentSettingsError, match="OPENAI_API_KEY: is empty"):
        load_env({"OPENAI_API_KEY": ""})

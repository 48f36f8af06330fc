"""The price file: easy to write, every error at once with its place, taken as a whole or not at all."""

from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest

from proxy.config_file import Loaded
from proxy.core.price_list import PriceList
from proxy.core.settings.settings import masked
from support.config_files import SMALLEST, load_text

CONFIG = SMALLEST + "prices: {file: prices.yaml, currency: USD}\n"
HEAD = 'version: "2026-11"\ncurrency: USD\n'

GOOD = (
    HEAD
    + """\
models:
  gpt-4o-mini: {input: "0.15", cached: "0.075", output: "0.60"}
  gpt-4o*:
    - {input: "2.50", output: "10", reasoning: "12", per_request: "0.000000000001"}
    - {valid_from: "2027-01-01", upstream: openai, input: "2", output: "8"}
"""
)

BAD = """\
version: 2026-11-20
currency: EUR
modles: {}
models:
  gpt-4o-mini: {input: 0.15, output: "0.60", cached: "-1"}
  gpt-4o-mini: {input: "1", output: "1"}
  gpt-4?: {input: "1.1234567", output: "1,5"}
  g?t-5: {input: "1", output: "1"}
  gp?-5: {input: "1", output: "1", cachd: "1"}
  gp?-*5: {input: "1", output: "1"}
  gp*-?5: {input: "1", output: "1"}
  "*": "5"
  " x": {input: "1", output: "1"}
  b: []
  a:
    - {input: "1", output: 2}
    - {input: "1", output: "2", valid_from: 2026-01-01}
    - {input: "1", output: "2", valid_from: "2026-02-30"}
    - {input: "1", output: "2", valid_from: "2026-02-03"}
    - {output: "2", valid_from: "2026-02-03"}
    - {input: "1", output: "2", valid_from: "2026-02-03"}
    - {input: "9999999", output: "", per_request: "0.0000000000001"}
    - {input: "1", output: "1", upstream: a b, valid_from: soon}
    - {model: a, input: "1e3", output: 1e3}
"""


def load_prices(folder: Path, prices: str | bytes | None, config: str = CONFIG) -> Loaded:
    """Load a config whose price file has this content; None: there is none."""
    if prices is not None:
        (folder / "prices.yaml").write_bytes(prices.encode() if isinstance(prices, str) else prices)
    return load_text(folder, config)


def told(loaded: Loaded) -> list[str]:
    """Each problem as `FILE:LINE:COL: message`, the file without its folder."""
    return [str(problem).removeprefix(f"{Path(problem.file).parent}/") for problem in loaded.problems]


def table_of(loaded: Loaded) -> PriceList:
    """The list of a file without errors."""
    assert loaded.problems == ()
    assert loaded.settings is not None
    assert loaded.settings.prices.table is not None
    return loaded.settings.prices.table


def test_a_good_file(tmp_path: Path) -> None:
    """Defaults are filled in, every amount is the decimal that was written, the version knows the exact content."""
    loaded = load_prices(tmp_path, GOOD)
    table = table_of(loaded)
    assert (table.version, table.currency) == (f"2026-11+{sha256(GOOD.encode()).hexdigest()[:12]}", "USD")
    mini, big, later = (entry.price for entry in table.entries)
    assert (mini.input, mini.cached, mini.output, mini.reasoning) == tuple(
        map(Decimal, ("0.15", "0.075", "0.6", "0.6"))
    )
    assert (big.cached, big.reasoning, big.per_request) == (Decimal("2.50"), Decimal(12), Decimal("1e-12"))
    assert (later.model, later.version, later.currency) == ("gpt-4o*", table.version, "USD")
    assert [entry.upstream for entry in table.entries] == [None, None, "openai"]
    assert loaded.files == (tmp_path / "prices.yaml",)


def test_models_in_a_list(tmp_path: Path) -> None:
    """A list in which each entry names its model says the same."""
    listed = """\
models:
  - {model: gpt-4o-mini, input: "0.15", cached: "0.075", output: "0.60"}
  - {model: gpt-4o*, input: "2.50", output: "10", reasoning: "12", per_request: "0.000000000001"}
  - {model: gpt-4o*, valid_from: "2027-01-01", upstream: openai, input: "2", output: "8"}
"""
    one, other = table_of(load_prices(tmp_path, GOOD)), table_of(load_prices(tmp_path, HEAD + listed))
    assert one.version != other.version
    for first, second in zip(one.entries, other.entries, strict=True):
        assert (first.pattern, first.upstream, first.valid_from) == (second.pattern, second.upstream, second.valid_from)
        assert first.price.output == second.price.output


def test_every_error_is_told_at_once(tmp_path: Path) -> None:
    """One run names all errors of the file, each with its line and column and a way out."""
    loaded = load_prices(tmp_path, BAD)
    assert loaded.settings is None
    in_quotes = "a price is a text, so that no reader rounds it"
    number = 'expected a decimal number in quotes, such as "0.15"'
    nobody = "match the same names, and none is more specific; add characters to one of them, or name the models"
    assert told(loaded) == [
        (
            "prices.yaml:1:10: version: 2026-11-20 without quotes is a date to some YAML readers; "
            'write it out, or "2026-11-20" as text'
        ),
        "prices.yaml:2:11: currency: is not the prices.currency of the config file, USD",
        "prices.yaml:3:1: unknown key 'modles' (did you mean 'models'?)",
        f'prices.yaml:5:24: models.gpt-4o-mini.input: put it in quotes: "0.15"; {in_quotes}',
        "prices.yaml:5:54: models.gpt-4o-mini.cached: a price can't be negative",
        "prices.yaml:6:3: duplicate key 'gpt-4o-mini', first on line 5; keep one of them",
        "prices.yaml:7:19: models.gpt-4?.input: expected at most 6 digits behind the point",
        f"prices.yaml:7:40: models.gpt-4?.output: {number}",
        "prices.yaml:9:36: unknown key 'cachd' (did you mean 'cached'?)",
        f"prices.yaml:11:3: 'gp*-?5' and 'gp?-*5' (line 10) {nobody}",
        'prices.yaml:12:8: models.*: expected prices, such as {input: "0.15", output: "0.60"}',
        "prices.yaml:13:3: a model's name has no blanks at its ends and no control characters",
        'prices.yaml:14:6: models.b: expected prices, such as {input: "0.15", output: "0.60"}',
        f'prices.yaml:16:28: models.a[0].output: put it in quotes: "2"; {in_quotes}',
        (
            "prices.yaml:17:45: models.a[1].valid_from: 2026-01-01 without quotes is a date to some YAML readers; "
            'write it out, or "2026-01-01" as text'
        ),
        "prices.yaml:18:45: models.a[2].valid_from: there is no such day",
        "prices.yaml:20:7: input is missing: A million prompt tokens.",
        (
            "prices.yaml:21:7: 'a' is priced on line 19 already; "
            "another price of it needs a valid_from or an upstream of its own"
        ),
        "prices.yaml:22:15: models.a[6].input: expected a price of at most 1000000",
        f"prices.yaml:22:34: models.a[6].output: {number}",
        "prices.yaml:22:51: models.a[6].per_request: expected at most 12 digits behind the point",
        "prices.yaml:23:43: models.a[7].upstream: expected 1 to 64 of A-Za-z0-9._:-",
        'prices.yaml:23:60: models.a[7].valid_from: expected a day in quotes, such as "2026-01-31"',
        (
            "prices.yaml:24:8: unknown key 'model' (known: cached, input, output, per_request, reasoning, upstream, "
            "valid_from)"
        ),
        f"prices.yaml:24:25: models.a[8].input: {number}",
        (
            "prices.yaml:24:40: models.a[8].output: 1e3 without quotes is a number with an exponent "
            'to some YAML readers; write it out, or "1e3" as text'
        ),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "1:1: the file is empty; expected version, currency and models"),
        ("[]", "1:1: expected version, currency and models"),
        ("a: [", "2:1: a value is missing or broken here"),
        (b"\xff", "1:1: not UTF-8; save the file as UTF-8"),
        (HEAD, "1:1: models is missing: The prices by model, "),
        (HEAD + "models: {}\n", "3:9: models: at least one is needed"),
        (HEAD + "models: []\n", "3:9: models: at least one is needed"),
        (HEAD + "models:\n", "3:8: models: at least one is needed"),
        (HEAD + "models: 5\n", "3:9: models: expected prices by model, or a list of prices that each name their model"),
        (HEAD + 'models: [{input: "1", output: "1"}]\n', "3:10: model is missing: A model; * and ? are wildcards."),
        (HEAD + 'models: [{model: "", input: "1", output: "1"}]\n', "3:18: models[0].model: a model's name has 1 to"),
        (HEAD + "models: [5]\n", "3:10: models[0]: expected prices, such as"),
        (GOOD.replace("currency: USD\n", ""), "1:1: currency is missing: "),
        (GOOD.replace("currency: USD\n", "currency: euro\n"), "2:11: currency: expected three capital letters"),
        (GOOD.replace('"2026-11"', "5"), "1:10: version: expected text; put it in quotes if it is meant as text"),
        (GOOD.replace('"2.50"', '"${PRICE}"'), "6:15: models.gpt-4o*[0].input: expected a decimal number in quotes"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, content: str | bytes, reason: str) -> None:
    """Whatever is in the file, its place and what was expected are told, once."""
    found = told(load_prices(tmp_path, content))
    assert len([line for line in found if line.startswith(f"prices.yaml:{reason}")]) == 1, found
    assert len(found) == 1


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    """That is an error of the line that names it."""
    loaded = load_prices(tmp_path, None)
    missing = f"quell.yaml:9:16: prices.file: {tmp_path}/prices.yaml: can't be read (No such file or directory)"
    assert told(loaded) == [missing]
    (tmp_path / "prices.yaml").mkdir()
    assert "(Is a directory)" in told(load_prices(tmp_path, None))[0]


def test_errors_of_both_files_are_told_together(tmp_path: Path) -> None:
    """Whoever mends one file sees at once what is wrong with the other, and the other way round."""
    found = told(load_prices(tmp_path, HEAD, CONFIG.replace("version: 1", "version: 2")))
    assert [line.partition(":")[0] for line in found] == ["quell.yaml", "prices.yaml"]


def test_text_is_not_filled_in(tmp_path: Path) -> None:
    """The file's digest says what it says: a variable would change prices behind its back."""
    table = table_of(load_prices(tmp_path, HEAD + 'models: {"${HOME}": {input: "1", output: "1"}}'))
    assert table.models == {"${HOME}"}


def test_an_upstream_that_is_not_there_is_warned_about(tmp_path: Path) -> None:
    """It may be another config's, as one list may serve several; it may be a typo as well."""
    loaded = load_prices(tmp_path, GOOD.replace("upstream: openai", "upstream: opnai"))
    (warning,) = loaded.warnings
    assert str(warning).endswith(
        "prices.yaml:7:44: models.gpt-4o*[1].upstream: no upstream is named 'opnai' (did you mean 'openai'?)"
    )
    assert table_of(loaded)


def test_the_currencies_must_agree(tmp_path: Path) -> None:
    """The one of the config file is known by default too; a fallback in dollars suits no other currency."""
    euros = GOOD.replace("currency: USD", "currency: EUR")
    assert len(told(load_prices(tmp_path, euros, CONFIG.replace(", currency: USD", "")))) == 1
    assert table_of(load_prices(tmp_path, euros, CONFIG.replace("USD", "EUR"))).currency == "EUR"
    both = CONFIG.replace("USD", "EUR, fallback: genai-prices")
    assert told(load_prices(tmp_path, euros, both)) == [
        "quell.yaml:9:54: prices.fallback: genai-prices has prices in USD only, and currency is EUR"
    ]


def test_patterns_that_nobody_confuses_may_be_alike(tmp_path: Path) -> None:
    """Two that are as specific are no error where no name matches both, or where their upstreams differ."""
    alike = """\
models:
  - {model: m-?-a, input: "1", output: "1"}
  - {model: m-?-b, input: "1", output: "1"}
  - {model: m*-x, input: "1", output: "1"}
  - {model: m-*x, input: "1", output: "1", upstream: openai}
"""
    assert len(table_of(load_prices(tmp_path, HEAD + alike)).entries) == 4


def test_many_wildcards_are_compared_in_no_time(tmp_path: Path) -> None:
    """A list of thousands of patterns is checked as fast as it is read."""
    lines = "".join(f'  model-{number:05d}*: {{input: "1", output: "2"}}\n' for number in range(10_000))
    assert len(table_of(load_prices(tmp_path, f"{HEAD}models:\n{lines}")).entries) == 10_000


def test_the_list_is_no_setting(tmp_path: Path) -> None:
    """An operator who looks at the settings sees the file's name, and settings with the same list are the same."""
    settings = load_prices(tmp_path, GOOD).settings
    assert settings is not None
    shown = masked(settings)["prices"]
    assert shown == {"file": str(tmp_path / "prices.yaml"), "currency": "USD", "fallback": "none"}

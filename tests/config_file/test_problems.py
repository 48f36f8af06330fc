import pytest

from proxy.config_file.problems import Problem, did_you_mean, dotted, nearest, printable, render


def test_a_problem_reads_like_a_compilers() -> None:
    """Editors jump to FILE:LINE:COL."""
    assert str(Problem("quell.yaml", 4, 5, "unknown key 'x'", "x")) == "quell.yaml:4:5: unknown key 'x'"


@pytest.mark.parametrize(("count", "last"), [(20, "f:20:1: m"), (21, "… and 1 more"), (27, "… and 7 more")])
def test_a_flood_of_problems_is_cut(count: int, last: str) -> None:
    """Where a program ends because of them twenty are shown, then how many more there are."""
    assert render([Problem("f", line, 1, "m", "") for line in range(1, count + 1)])[-1] == last


@pytest.mark.parametrize(
    ("word", "found"),
    [("bse_url", "base_url"), ("baseUrl", "base_url"), ("API-KEY", "api_key"), ("zzz", None)],
)
def test_the_nearest_word_sees_through_typos_and_spelling(word: str, found: str | None) -> None:
    """Letters swapped, camel case and dashes are recognised; nonsense is not."""
    assert nearest(word, ["base_url", "api_key", "slots"]) == found


def test_without_a_near_word_all_are_named() -> None:
    """Somebody who guessed sees what there is."""
    assert did_you_mean("zzz", ["b", "a"]) == " (known: a, b)"


def test_a_place_is_written_as_people_write_it() -> None:
    """Keys with dots, items with brackets."""
    assert dotted(("routes", 0, "cors", "origins", 1)) == "routes[0].cors.origins[1]"


def test_what_a_terminal_obeys_is_escaped() -> None:
    """Escapes, line breaks and lone surrogates can be printed safely."""
    assert printable("ä\x1b\n\ud800") == "ä\\x1b\\n\\ud800"

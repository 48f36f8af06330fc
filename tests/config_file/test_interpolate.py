import pytest

from proxy.config_file.interpolate import Interpolator

ENVIRON = {"NAME": "value", "EMPTY": "", "NESTED": "${NAME}", "YAML": "a: [1]", "SECRET": "canary-secret"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("${NAME}", "value"),
        ("a${NAME}b${NAME}", "avaluebvalue"),
        ("${NAME:-other}", "value"),
        ("${NOT_SET:-other}", "other"),
        ("${NOT_SET:-}", ""),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("${NAME:?message}", "value"),
        ("$$NAME", "$NAME"),
        ("$${NAME}", "${NAME}"),
        ("$$$$", "$$"),
        ("${NESTED}", "${NAME}"),
        ("${YAML}", "a: [1]"),
        ("${NOT_SET:-http://h:1/?a=b}", "http://h:1/?a=b"),
    ],
)
def test_variables_are_filled_in_once_as_they_are(text: str, filled: str) -> None:
    """A value is text: it is never looked at for variables or YAML again."""
    assert Interpolator(ENVIRON).fill(text) == filled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOT_SET}", "the variable NOT_SET is not set; set it, or give a default: ${NOT_SET:-…}"),
        ("${NOT_SET:?ask the team}", "the variable NOT_SET is not set: ask the team"),
        ("${EMPTY:?ask the team}", "the variable EMPTY is empty: ask the team"),
        ("${EMPTY:?}", "the variable EMPTY is empty: it is needed"),
        ("${NOT_SET:-${NAME}}", "the default of NOT_SET has a variable in it; only plain text is read there"),
        ("$NAME", "a single $ starts a variable"),
        ("5$", "a single $ starts a variable"),
        ("${}", "a single $ starts a variable"),
        ("${NAME", "a single $ starts a variable"),
        ("${NAME-x}", "a single $ starts a variable"),
    ],
)
def test_what_can_not_be_filled_in_is_refused(text: str, message: str) -> None:
    """An unset variable and a lost dollar sign are errors, never empty text."""
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        Interpolator(ENVIRON).fill(text)
    assert str(caught.value).startswith(message)


def test_a_filled_in_value_is_hidden_by_its_name() -> None:
    """Messages show the variable where its value would stand."""
    interpolator = Interpolator(ENVIRON)
    interpolator.fill("${SECRET}")
    assert interpolator.hide("not canary-secret") == "not ${SECRET}"

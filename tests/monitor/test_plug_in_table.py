"""Keys that the tables of plug-ins have in common."""

from typing import Any

import pytest

from andon.foundation.errors import ConfigError
from andon.monitor.plug_in_table import kind_in, listed_in, name_in, shown_type


def test_a_kind_is_loaded_by_its_name() -> None:
    assert kind_in({"kind": "mqtt"}, "andon.outputs", at="line.toml: output[0]", example="mqtt").name == "mqtt"


def test_a_kind_that_does_not_exist_is_refused_at_its_place_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"^line.toml: output\[0\].kind: .*did you mean 'mqtt'"):
        kind_in({"kind": "mqt"}, "andon.outputs", at="line.toml: output[0]", example="mqtt")


@pytest.mark.parametrize("name", ["a", "press-3", "A_9", "x" * 64])
def test_a_name_has_letters_digits_and_dashes(name: str) -> None:
    assert name_in({"name": name}, at="output[0]", example="plant") == name


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a\n", "é", 3, None])
def test_any_other_name_is_refused(name: object) -> None:
    with pytest.raises(ConfigError, match=r"output\[0\].name: expected 1 to 64 letters"):
        name_in({"name": name}, at="output[0]", example="plant")


@pytest.mark.parametrize("value", ["hunter2", b"hunter2", ["hunter2"], {"password": "hunter2"}])
def test_an_error_does_not_show_a_value_that_may_be_a_secret(value: Any) -> None:
    table = {"kind": value, "name": value, "lines": value if not isinstance(value, list) else [value]}

    for refused in (
        lambda: name_in({"name": [value]}, at="output[0]", example="plant"),
        lambda: kind_in({"kind": [value]}, "andon.outputs", at="output[0]", example="mqtt"),
        lambda: listed_in(table, "lines", at="output[0]", what="line", known=None),
    ):
        with pytest.raises(ConfigError) as error:
            refused()
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected a list of at least one line, .* got an empty list"),
        ("press-3", "expected a list of at least one line, .* got another text"),
        (["press-4"], r"expected a known line, got 'press-4' \(did you mean 'press-3'\?\). Known: press-3"),
        (["press-3", "press-3"], "expected each line once, got 'press-3' again"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"output\[0\].lines: {message}"):
        listed_in({"lines": value}, "lines", at="output[0]", what="line", known=["press-3"])


def test_a_list_that_is_not_there_is_none_and_a_list_without_known_names_is_taken_as_it_is() -> None:
    assert listed_in({}, "lines", at="output[0]", what="line", known=["press-3"]) is None
    assert listed_in({"lines": ["a", "b"]}, "lines", at="output[0]", what="line", known=None) == ("a", "b")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "nothing"), ("", "an empty text"), ("a", "another text"), ([], "an empty list"), ([1], "list"), (2.0, "float")],
)  # fmt: skip
def test_a_type_is_shown_in_words(value: object, text: str) -> None:
    assert shown_type(value) == text

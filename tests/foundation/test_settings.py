"""One settings struct gives flags, checks and hints."""

import argparse
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from andon.foundation.secret import Secret
from andon.foundation.settings import (
    add_flags,
    fields,
    from_flags,
    from_mapping,
    from_table,
    from_texts,
    missing,
    nearest,
)
from andon.runtime import ConfigError


class Settings(Struct, frozen=True, kw_only=True):
    epochs: Annotated[int, Meta(ge=1, le=1000, description="passes over the training set")] = 40
    learning_rate: Annotated[float, Meta(gt=0, description="step size", extra={"unit": "1"})] = 1e-3
    noise: Annotated[float, Meta(description="added noise, in % of the range")] = 0.0
    loss: Annotated[Literal["mse", "ssim"], Meta(description="what is minimised")] = "mse"
    size: Annotated[tuple[int, int], Meta(description="height and width", extra={"unit": "px"})] = (64, 64)
    patience: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="epochs without gain")] = None
    side: Annotated[Annotated[int, Meta(ge=16, multiple_of=8)] | None, Meta(description="of what is seen")] = None
    widths: Annotated[tuple[Annotated[int, Meta(ge=1)], ...] | None, Meta(description="of the levels")] = None
    weights: Annotated[tuple[float, ...], Meta(description="of the levels")] = (1.0,)
    evidence: Annotated[Literal["l1", "ssim", "head"] | None, Meta(description="what decides")] = None
    steps: Annotated[Annotated[int, Meta(ge=2, le=20_000_000)] | None, Meta(description="of all")] = None
    share: Annotated[float, Meta(gt=0, le=1, description="of the parts")] = 1.0
    level: Annotated[Literal[1, 2] | None, Meta(description="of detail")] = None
    augment: Annotated[bool, Meta(description="vary the pictures")] = True


def _parsed(*words: str) -> Settings:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser, Settings)
    return from_flags(Settings, parser.parse_args(words))


def test_absent_flags_leave_the_defaults() -> None:
    assert _parsed() == Settings()


def test_every_setting_is_a_flag() -> None:
    words = "--epochs 3 --learning-rate 0.5 --noise 1 --loss ssim --size 32x48 --patience 2 --no-augment"

    assert _parsed(*words.split()) == Settings(
        epochs=3, learning_rate=0.5, noise=1.0, loss="ssim", size=(32, 48), patience=2, augment=False
    )


@pytest.mark.parametrize("text", ["32x48", "32,48", "32, 48"])
def test_a_pair_is_written_with_x_or_comma(text: str) -> None:
    assert _parsed("--size", text).size == (32, 48)


def test_a_choice_that_is_a_number_is_written_as_a_number() -> None:
    assert _parsed("--level", "2").level == 2


def test_none_is_a_value_where_the_setting_may_be_absent() -> None:
    assert _parsed("--patience", "none").patience is None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--epochs", "0"], "--epochs: expected an integer from 1 to 1000, got '0'."),
        (["--epochs", "1001"], "--epochs: expected an integer from 1 to 1000, got '1001'."),
        (["--epochs", "1.5"], "--epochs: expected an integer from 1 to 1000, got '1.5'."),
        (["--epochs", "many"], "--epochs: expected an integer from 1 to 1000, got 'many'."),
        (["--learning-rate", "0"], "--learning-rate: expected a number > 0, got '0'."),
        (["--learning-rate", "nan"], "--learning-rate: expected a finite number > 0, got 'nan'."),
        (["--noise", "nan"], "--noise: expected a finite number, got 'nan'."),
        (["--noise=-inf"], "--noise: expected a finite number, got '-inf'."),
        (["--loss", "ssin"], "--loss: expected one of mse, ssim, got 'ssin' (did you mean 'ssim'?)."),
        (["--size", "32xmany"], "--size: expected 2 integers separated by commas, got '32xmany'."),
        (["--size", "32"], "--size: expected 2 integers separated by commas, got '32'."),
        (["--steps", "1"], "--steps: expected an integer from 2 to 20000000, or none, got '1'."),
        (["--share", "1.5"], "--share: expected a number > 0 and <= 1, got '1.5'."),
        (["--patience", "0"], "--patience: expected an integer >= 1, or none, got '0'."),
        (["--side", "20"], "--side: expected an integer >= 16 and a multiple of 8, or none, got '20'."),
        (["--widths", "8,0"], "--widths: expected integers >= 1 separated by commas, or none, got '8,0'."),
        (["--weights", "1,nan"], "--weights: expected finite numbers separated by commas, got '1,nan'."),
        (["--evidence", "repair"], "--evidence: expected one of head, l1, ssim, or none, got 'repair'."),
        (
            ["--evidence", "had"],
            "--evidence: expected one of head, l1, ssim, or none, got 'had' (did you mean 'head'?).",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_flag(words: list[str], why: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        _parsed(*words)
    assert str(refusal.value) == why


def test_help_states_unit_default_and_bounds() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, Settings)

    text = " ".join(parser.format_help().split())

    assert "passes over the training set (default: 40, from 1 to 1000)" in text
    assert "height and width [px] (default: 64,64)" in text
    assert "--loss {mse,ssim}" in text
    assert "--patience N epochs without gain (default: none, >= 1)" in text
    assert "in % of the range" in text


def test_a_mapping_gives_the_same_as_the_flags() -> None:
    assert from_mapping(Settings, {"epochs": 3, "size": [32, 48]}) == _parsed("--epochs", "3", "--size", "32x48")


def test_a_misspelt_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"run.toml: unknown setting 'epoch' \(did you mean 'epochs'\?\)"):
        from_mapping(Settings, {"epoch": 3}, where="run.toml")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"epochs": "3"}, "settings: epochs: expected an integer from 1 to 1000, got '3'."),
        ({"epochs": 0}, "settings: epochs: expected an integer from 1 to 1000, got 0."),
        ({"noise": float("nan")}, "settings: noise: expected a finite number, got nan."),
        ({"size": [1]}, "settings: size: expected 2 integers separated by commas, got [1]."),
        ({"augment": 1}, "settings: augment: expected true or false, got 1."),
    ],
)
def test_a_mapping_with_a_wrong_value_is_refused(values: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        from_mapping(Settings, values)
    assert str(refusal.value) == why


def test_a_type_without_words_is_refused_in_the_words_of_msgspec() -> None:
    class Needed(Struct):
        parts: dict[str, int]

    with pytest.raises(ConfigError, match=r"^here: expected parts, got nothing\.$"):
        from_mapping(Needed, {}, where="here")
    with pytest.raises(ConfigError, match=r"^here: parts: Expected `int`, got `str`"):
        from_mapping(Needed, {"parts": {"a": "b"}}, where="here")


@given(
    st.builds(
        Settings,
        epochs=st.integers(1, 1000),
        noise=st.floats(allow_nan=False, allow_infinity=False),
        patience=st.none() | st.integers(1, 2**60),
    )
)
def test_settings_come_back_from_their_mapping(settings: Settings) -> None:
    assert from_mapping(Settings, msgspec.to_builtins(settings)) == settings


def test_a_setting_without_a_description_is_a_bug() -> None:
    class Bare(Struct):
        epochs: int = 1

    with pytest.raises(TypeError, match="setting 'epochs' has no description"):
        fields(Bare)


def test_a_struct_that_refuses_values_together_is_quoted() -> None:
    class Range(Struct, frozen=True, kw_only=True):
        low: Annotated[int, Meta(description="first")] = 0
        high: Annotated[int, Meta(description="last")] = 1

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("expected low <= high")

    with pytest.raises(ConfigError, match=r"^here: expected low <= high"):
        from_mapping(Range, {"low": 3}, where="here")


def test_nothing_near_gives_no_hint() -> None:
    assert nearest("zzz", ["epochs"]) == ""


class Broker(Struct, frozen=True, kw_only=True):
    host: Annotated[str, Meta(description="name of the machine")]
    port: Annotated[int, Meta(ge=1, le=65535, description="of the machine")] = 1883
    retain: Annotated[bool, Meta(description="keep the last message")] = False
    sizes: Annotated[tuple[int, ...], Meta(description="of batches")] = ()


def test_a_setting_without_a_default_is_required_and_the_help_says_so() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, Broker, title="settings of a broker")

    assert [setting.name for setting in fields(Broker) if setting.required] == ["host"]
    assert "name of the machine (required)" in parser.format_help()
    assert "settings of a broker:" in parser.format_help()
    assert missing(Broker, ["port"]) == ["host"]
    assert missing(Broker, ["host"]) == []


def test_texts_become_settings_of_the_declared_types() -> None:
    settings = from_texts(Broker, {"host": "plc", "port": "1", "retain": "true", "sizes": "1,2"}, where="the sink mqtt")

    assert settings == Broker(host="plc", port=1, retain=True, sizes=(1, 2))


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({}, "the sink mqtt: expected host, got nothing."),
        ({"host": "a", "prot": "1"}, "the sink mqtt: unknown setting 'prot' (did you mean 'port'?)."),
        ({"host": "a", "port": "0"}, "the sink mqtt: port: expected an integer from 1 to 65535, got '0'."),
        ({"host": "a", "retain": "maybe"}, "the sink mqtt: retain: expected true or false, got 'maybe'."),
    ],
)
def test_a_text_that_does_not_fit_is_refused_in_words(texts: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        from_texts(Broker, texts, where="the sink mqtt")

    assert str(refusal.value).startswith(why)


class _Login(Struct, frozen=True, kw_only=True):
    password: Annotated[Secret, Meta(description="of the server")]
    port: Annotated[int, Meta(ge=1, description="of the server")] = 1883
    ca: Annotated[str, Meta(description="certificate", extra={"path": "file"})] = ""


@pytest.mark.parametrize("wrong", ["canary", 5, ["canary"], {"env": "A", "value": "canary"}, {"enw": "canary"}, {}])
def test_a_secret_that_is_written_as_a_value_is_refused_without_showing_it(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r'^f: a.password: expected a secret as \{ env = "NAME" \}') as refusal:
        from_table(_Login, {"password": wrong}, at="f: a")

    assert "canary" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    with pytest.raises(ConfigError, match="expected a secret") as refusal:
        from_texts(_Login, {"password": "canary"}, where="x")
    assert "canary" not in str(refusal.value)


def test_a_table_gives_settings_and_its_errors_begin_with_the_path_of_the_key() -> None:
    given = {"password": {"env": "X"}, "port": 8883}

    assert from_table(_Login, given, at="f: a") == _Login(password=Secret(env="X"), port=8883)
    with pytest.raises(ConfigError, match=r"^f: a\.port: expected an integer >= 1, got 0\.$"):
        from_table(_Login, {**given, "port": 0}, at="f: a")
    with pytest.raises(
        ConfigError, match=r"^f: a\.prt: unknown key \(did you mean 'port'\?\)\. Known: password, port, ca"
    ):
        from_table(_Login, {**given, "prt": 1}, at="f: a")
    with pytest.raises(ConfigError, match=r"^f: a: expected password, got nothing\.$"):
        from_table(_Login, {}, at="f: a")


def test_a_path_is_marked_in_its_setting() -> None:
    assert [setting.path for setting in fields(_Login)] == ["", "", "file"]


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    nodes: Annotated[str | dict[str, str] | None, Meta(description="nodes")] = None
    values: Annotated[tuple[Literal["Ready", "State"], ...], Meta(description="values")] = ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nodes": 5}, r"nodes: expected text or a table of texts, or none, got 5\."),
        ({"nodes": {"a": 3}}, r"nodes: expected text or a table of texts, or none, got \{'a': 3\}\."),
        ({"values": ["Reddy"]}, r"values: expected a list with any of Ready, State, got \['Reddy'\]\."),
    ],
)
def test_a_table_or_a_list_of_choices_is_described(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(Lists, given)

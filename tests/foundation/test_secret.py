"""A secret is known by its place. Only `reveal` reads it, and no error shows it."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.foundation.secret import MAX_BYTES, Secret

CANARY = "canary-7f3a"


def test_an_environment_variable_is_read_when_it_is_revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret(env="ANDON_TEST_SECRET")
    monkeypatch.setenv("ANDON_TEST_SECRET", CANARY)

    assert secret.reveal() == CANARY
    assert CANARY not in repr(secret)
    assert CANARY not in str(msgspec.to_builtins(secret))


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_is_read_without_its_last_line_break(tmp_path: Path, end: str) -> None:
    (tmp_path / "token").write_bytes(f" {CANARY}{end}".encode())

    assert Secret(file=str(tmp_path / "token")).reveal() == f" {CANARY}"


def test_a_secret_survives_json() -> None:
    for secret in (Secret(env="X"), Secret(file="a/b")):
        assert msgspec.json.decode(msgspec.json.encode(secret), type=Secret) == secret


@pytest.mark.parametrize("table", [{}, {"env": "X", "file": "a"}, {"env": "not a name"}, {"value": "x"}, {"file": ""}])
def test_a_table_that_is_not_one_place_is_refused(table: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, Secret)


def test_a_missing_or_empty_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDON_TEST_SECRET", raising=False)
    (tmp_path / "empty").write_bytes(b"\n")

    with pytest.raises(
        ConfigError, match="the environment variable ANDON_TEST_SECRET: expected a secret, found no such"
    ):
        Secret(env="ANDON_TEST_SECRET").reveal()
    with pytest.raises(ConfigError, match="no_file: cannot be read: No such file"):
        Secret(file=str(tmp_path / "no_file")).reveal()
    with pytest.raises(ConfigError, match="empty: expected a secret, found an empty text"):
        Secret(file=str(tmp_path / "empty")).reveal()


@given(rest=st.binary(max_size=20))
def test_an_unusable_file_is_refused_without_its_content(rest: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("secret")
    for name, data in (("binary", CANARY.encode() + b"\xff" + rest), ("large", CANARY.encode() * MAX_BYTES)):
        (folder / name).write_bytes(data)
        with pytest.raises(ConfigError, match="expected UTF-8 text of at most") as refusal:
            Secret(file=str(folder / name)).reveal()

        assert CANARY not in str(refusal.value)
        assert refusal.value.__cause__ is refusal.value.__context__ is None

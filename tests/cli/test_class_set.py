"""Class sets in flags: the same data as in one text."""

import argparse

import pytest

from andon.cli import EXIT_USER, main
from andon.cli._class_set import add_flags, take_in
from andon.foundation.errors import ConfigError


def given(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    add_flags(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "data"),
    [
        (["--data", "mnist", "--normal", "0"], "mnist:normal=0"),
        (["--data", "mnist", "--anomaly", "5", "--root", "a,b"], "mnist:root=a,b,anomaly=5"),
        (["--data", "mnist:root=here", "--normal", "3+4"], "mnist:root=here,normal=3+4"),
        (["--data", "classes:parts/", "--normal", "a"], "classes:parts/,normal=a"),
        (["--data", "parts/"], "parts/"),
    ],
)
def test_flags_become_part_of_the_datas_text(words: list[str], data: str) -> None:
    args = given(*words)

    take_in(args)

    assert args.data == data


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "parts/", "--normal", "0"], "--normal: expected a class set .* got --data parts/"),
        (["--root", "x", "--anomaly", "0"], "--root and --anomaly: expected a class set .* got no --data"),
        (
            ["--data", "mnist:normal=1", "--normal", "0"],
            "--normal: expected normal once, got it in --data mnist:normal=1 too",
        ),
    ],
)
def test_flags_that_would_do_nothing_or_say_it_twice_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        take_in(given(*words))


def test_train_and_evaluate_have_them(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["train", "pixel_knn", "--out", f"{tmp_path}/run"], ["evaluate", "x.onnx"]):
        assert main([*command, "--data", "mnist:normal=1", "--normal", "0"]) == EXIT_USER
        assert "expected normal once" in capsys.readouterr().err

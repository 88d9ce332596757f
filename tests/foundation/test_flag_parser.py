"""A parser that knows its flags."""

import argparse

import pytest

from andon.foundation.errors import ConfigError
from andon.foundation.flag_parser import FlagParser


def test_flags_are_known_wherever_they_were_added() -> None:
    parser = FlagParser()
    parser.add_argument("file")
    parser.add_argument("-v", "--verbose", action="store_true")
    group = parser.add_argument_group("settings")
    group.add_argument("--watch", action=argparse.BooleanOptionalAction)
    group.add_mutually_exclusive_group().add_argument("--map")
    parser.add_mutually_exclusive_group().add_argument("--score")

    assert list(parser.flags) == ["-h", "--help", "-v", "--verbose", "--watch", "--no-watch", "--map", "--score"]
    assert {flag for flag, action in parser.flags.items() if action.nargs == 0} == {
        "-h",
        "--help",
        "-v",
        "--verbose",
        "--watch",
        "--no-watch",
    }
    assert [action.dest for action in parser.actions] == ["help", "file", "verbose", "watch", "map", "score"]


def test_arguments_are_parsed_as_by_argparse() -> None:
    parser = FlagParser()
    parser.add_argument("file")
    parser.add_argument_group("settings").add_argument("--seed", type=int, default=0)

    assert parser.parse_args(["a.onnx", "--seed", "3"]) == argparse.Namespace(file="a.onnx", seed=3)


def test_a_command_line_that_does_not_fit_is_an_error_of_ours() -> None:
    parser = FlagParser()
    parser.add_argument("file")

    with pytest.raises(ConfigError, match="the following arguments are required: file"):
        parser.parse_args([])

"""Whole numbers on the command line, refused with their bounds before anything has begun."""

import argparse
from collections.abc import Callable

MAX_SEED = 2**31 - 1
"""What every random generator takes, doubled and one more included."""


def whole(low: int, high: int) -> Callable[[str], int]:
    """A type for argparse: ``parser.add_argument("--seed", type=whole(0, MAX_SEED))``."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}, got {text!r}")
        return number

    return parse

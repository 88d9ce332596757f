"""Integers on the command line, with bounds that are checked during parsing."""

import argparse
from collections.abc import Callable

MAX_SEED = 2**31 - 1
"""The largest seed. The random generators accept seeds up to twice this number plus one (32 bits)."""


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a type for argparse that accepts integers in a range: ``type=whole(0, MAX_SEED)``."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"expected an integer from {low} to {high}, got {text!r}")
        return number

    return parse

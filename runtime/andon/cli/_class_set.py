"""Flags of data sets with classes: ``--data mnist --normal 0`` as another form of ``--data mnist:normal=0``."""

import argparse
import re

from andon.foundation.errors import ConfigError
from andon.foundation.registry import names
from andon.sources.addresses import shown_address

_FLAGS = {
    "root": ("PATH", "data sets with classes (mnist, cifar10, ...): folder with the files"),
    "normal": ("CLASS", "data sets with classes: good classes, joined by +. All others are defects"),
    "anomaly": ("CLASS", "data sets with classes: defective classes, joined by +. All others are good"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--root``, ``--normal`` and ``--anomaly``."""
    for name, (metavar, text) in _FLAGS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=text)


def take_in(args: argparse.Namespace) -> None:
    """Append the given flags to ``args.data``, so that the run folder records them too.

    Raises:
        ConfigError: the data are not a class set, or ``--data`` already sets the option of a flag.
    """
    given = {name: value for name in _FLAGS if (value := getattr(args, name)) is not None}
    if not given:
        return
    data = args.data or ""
    flags = " and ".join(f"--{name}" for name in given)
    if data.partition(":")[0] not in names("andon.sources"):
        raise ConfigError(
            f"{flags}: expected a class set (--data mnist, fashion_mnist, cifar10 or classes:PATH), got "
            f"{f'--data {shown_address(data)}' if data else 'no --data'}. Leave the flag out."
        )
    for name in given:
        if re.search(rf"[:,]\s*{name}\s*=", data):
            raise ConfigError(
                f"--{name}: expected {name} once, got it in --data {shown_address(data)} too. Leave one of the two out."
            )
    args.data = f"{data}{',' if ':' in data else ':'}{','.join(f'{name}={value}' for name, value in given.items())}"

"""Flags of class sets, as the field writes them: ``--data mnist --normal 0`` for ``--data mnist:normal=0``."""

import argparse
import re

from andon.foundation.errors import ConfigError
from andon.foundation.registry import names
from andon.sources.addresses import shown_address

_FLAGS = {
    "root": ("PATH", "class sets: the folder of the files"),
    "normal": ("CLASS", "class sets: the good classes, joined by +; all others are defects"),
    "anomaly": ("CLASS", "class sets: the defective classes, joined by +; all others are good"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """``--root``, ``--normal`` and ``--anomaly``."""
    for name, (metavar, text) in _FLAGS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=text)


def take_in(args: argparse.Namespace) -> None:
    """Write what was given into ``args.data``, which then says it all, for the run folder too.

    Raises:
        ConfigError: the data are no class set, or say already what a flag says.
    """
    given = {name: value for name in _FLAGS if (value := getattr(args, name)) is not None}
    if not given:
        return
    data = args.data or ""
    flags = " and ".join(f"--{name}" for name in given)
    if data.partition(":")[0] not in names("andon.sources"):
        raise ConfigError(
            f"{flags}: only class sets have such flags, --data mnist, fashion_mnist, cifar10 or classes:PATH; got "
            f"{f'--data {shown_address(data)}' if data else 'no --data'}."
        )
    for name in given:
        if re.search(rf"[:,]\s*{name}\s*=", data):
            raise ConfigError(f"--{name}: --data {shown_address(data)} says it already; leave one of the two out.")
    args.data = f"{data}{',' if ':' in data else ':'}{','.join(f'{name}={value}' for name, value in given.items())}"

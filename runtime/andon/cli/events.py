"""List the newest events of a monitor, also while it runs.

Events are rejects, reviews, the begin and end of INVALID spans, and changes of alarms, sources and models. They are kept if
LINE.toml has a table [store].

example:
  andon events line.toml
  andon events line.toml --kind alarm --limit 20
  andon events line.toml --json | jq -r .body.kind
  andon events line.toml --dead                         # events that an output has given up
  andon events line.toml --again plant:1284             # send one of them again; the monitor must be stopped
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from andon.cli._numbers import whole

if TYPE_CHECKING:
    from andon.monitor.store import Settings

_MOST_DIGITS = 18
"""Most digits of an event number that SQLite can hold."""
SUMMARY = "list the newest events of a monitor"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", metavar="LINE.toml", help="configuration of the monitor")
    parser.add_argument(
        "--limit", type=whole(1, 1000), default=50, metavar="N", help="largest number of events (default: 50)"
    )
    parser.add_argument("--kind", metavar="KIND", help="only events of this kind, for example reject or alarm")
    parser.add_argument("--line", metavar="NAME", help="only events of this line")
    parser.add_argument(
        "--dead", action="store_true", help="list the events that an output has given up, with the reason"
    )
    parser.add_argument(
        "--again",
        metavar="OUTPUT:SEQ",
        help="send a dead event again after the next start. The monitor must be stopped",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each event")


def run(args: argparse.Namespace) -> int:
    """Print the events, oldest first."""
    from andon.foundation.errors import ConfigError
    from andon.foundation.settings import nearest
    from andon.monitor.config import read_configuration
    from andon.monitor.event import encode
    from andon.monitor.event_text import event_text
    from andon.monitor.output import KINDS
    from andon.monitor.store import StoreReader, damage_as_error

    configuration = read_configuration(args.file)
    if configuration.store is None:
        raise ConfigError(
            f'{args.file}: expected a table [store], found none. Events are kept only with it, for example path = "state".'
        )
    if args.kind is not None and args.kind not in KINDS:
        raise ConfigError(
            f"--kind: expected a kind of event, got {args.kind!r}{nearest(args.kind, KINDS)}. Known: {', '.join(KINDS)}."
        )
    if args.again is not None:
        return _send_again(
            args.file, configuration.store, [output.name for output in configuration.outputs], args.again
        )
    folder = Path(configuration.store.path)
    reader = StoreReader(folder)
    with damage_as_error(folder):
        gone = reader.dead(limit=args.limit) if args.dead else []
        events = [] if args.dead else reader.recent(kind=args.kind, line=args.line, limit=args.limit)
    if args.dead:
        for dead in gone:
            if args.json:
                print(encode(dead.event).decode())
            else:
                print(f"{dead.output}:{dead.seq}  {dead.reason}\n  {event_text(dead.event)}")
        return 0
    for event in reversed(events):
        print(encode(event).decode() if args.json else event_text(event))
    return 0


def _send_again(file: str, settings: "Settings", names: list[str], text: str) -> int:
    from andon.foundation.errors import ConfigError
    from andon.monitor.store import StoreReader
    from andon.monitor.store_writer import StoreWriter
    from andon.sources.clock import SystemClock

    name, _, number = text.partition(":")
    if name not in names or not number.isascii() or not number.isdigit() or len(number) > _MOST_DIGITS:
        raise ConfigError(
            f"--again: expected OUTPUT:SEQ with an output of {file} ({', '.join(names) or 'none'}), for example plant:1284, got "
            f"{text!r}. 'andon events {file} --dead' lists the events."
        )
    StoreReader(Path(settings.path))  # a missing store is an error: opening it for writing would make one
    store = StoreWriter(settings, SystemClock(), outputs=names)
    try:
        found = store.revive(name, int(number))
    finally:
        store.close()
    if not found:
        raise ConfigError(f"--again: expected an event that {name} has given up, found none with the number {number}.")
    print(f"{name}:{number} is sent again after the next start of the monitor")
    return 0

"""The flags of a training for the windows of sensor logs: lengths in rows, in seconds, or chosen from the log."""

import argparse

from andon.foundation.flag_parser import FlagParser
from andon.training.runs.window_choice import Length, Wanted, WindowRequest, parse_length, parse_period

_LENGTHS = ("steps", "hop")
_MORE = {
    "steps": "; or a time such as 2s, or auto: choose length, hop and period from the log",
    "hop": "; or a time, or auto: an eighth of the length, also the default if --steps is a time or auto",
}


def extend(parser: FlagParser) -> None:
    """Let the flags for length and hop of a window detector accept a time or auto, and add the flag for the period."""
    for name in _LENGTHS:
        flag = parser.flags.get(f"--{name}")
        if flag is not None:
            flag.metavar, flag.help = "N|TIME|auto", f"{flag.help}{_MORE[name]}"
    if "--period" in parser.flags:  # a setting of the detector
        return
    parser.add_argument(
        "--period",
        metavar="TIME|auto",
        help="logs: time between two rows of a window, such as 1s or 100ms, or auto. The default is the distance of the rows, "
        "and auto if --steps is auto",
    )


def take(args: argparse.Namespace) -> WindowRequest:
    """Return the request, and remove the values from the arguments that the settings of a detector cannot hold.

    Without any of the flags, the windows of the settings are shortened for a short log.

    Raises:
        ConfigError: a value is neither a number of rows, nor a time, nor auto.
    """
    wanted: dict[str, Wanted] = {}
    for name in _LENGTHS:
        text = getattr(args, name, None)
        if not isinstance(text, str) or _is_integer(text):
            wanted[name] = _rows(text)
            continue
        wanted[name] = parse_length(text, f"--{name}")
        delattr(args, name)  # the setting keeps its default until the log is read
    period = getattr(args, "period", None)
    steps, hop = wanted["steps"], wanted["hop"]
    if period is None and all(_in_rows(one) for one in (steps, hop)):
        chosen = any(getattr(args, name, None) is not None for name in _LENGTHS)
        return WindowRequest(shorten=not chosen)  # rows alone are plain settings, which check their bounds
    return WindowRequest(steps=steps, hop=hop, period_s=None if period is None else parse_period(period))


def _in_rows(wanted: Wanted) -> bool:
    return wanted is None or (isinstance(wanted, Length) and wanted.rows is not None)


def _is_integer(text: str) -> bool:
    return text.strip().lstrip("+-").isdecimal()


def _rows(text: object) -> Length | None:
    return Length(rows=int(text)) if isinstance(text, str) and text.strip().isdecimal() and int(text) else None

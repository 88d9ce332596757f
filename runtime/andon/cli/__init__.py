"""The command line: one thin module per command, found by its file name.

The module of a command imports other parts of andon only when the command runs. `main` imports the runtime
itself, because the import takes a third of a second and Ctrl-C must end it cleanly.
"""

import argparse
import importlib
import logging
import os
import pkgutil
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from andon.cli._terminal import LONGEST_LINE, PrintableFormatter, interrupts, standard_streams
from andon.foundation.flag_parser import FlagParser

if TYPE_CHECKING:
    from andon.foundation.errors import ConfigError
    from andon.sources.source import Source

EXIT_DONE, EXIT_CHECK_FAILED, EXIT_USER, EXIT_PARTLY, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

_ORDER = (
    "demo", "train", "animate", "export", "inspect", "score", "pack", "evaluate", "audit", "calibrate", "threshold",
    "compare", "recommend", "sample", "bench", "doctor", "init", "check", "token", "monitor", "reload", "events",
)  # fmt: skip
"""Order of the commands in --help: the order in which a new user needs them."""
_VERBOSE = "print more details to stderr"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done. 1: a check failed. 2: a mistake of the user or bad input. 3: partly done. 130: interrupted by Ctrl-C.
    """
    # spinning threads of torch block the other core: without them one training on a busy machine took 68 s instead of 177 s
    policy = os.environ.get("OMP_WAIT_POLICY")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    level = logging.getLogger("andon").level
    try:
        with interrupts() as interrupted, standard_streams():
            return _guarded(list(sys.argv[1:] if argv is None else argv), interrupted)
    finally:  # a program that calls this function continues afterwards
        logging.getLogger("andon").setLevel(level)
        if policy is None:
            os.environ.pop("OMP_WAIT_POLICY", None)


def _guarded(words: Sequence[str], interrupted: threading.Event) -> int:
    try:
        # before onnxruntime, whose C code prints a traceback when Ctrl-C hits its own import of numpy
        import numpy  # noqa: F401, ICN001

        from andon.foundation.errors import AndonError
        from andon.foundation.printable import printable
        from andon.foundation.redaction import redact

        try:
            code = _answer(words)
            sys.stdout.flush()  # flush here, where the exception for a closed pipe can still be caught
        except AndonError as error:
            line = printable(redact(" ".join(str(error).splitlines())), limit=LONGEST_LINE)
            print(f"andon: {line}", file=sys.stderr)
            return EXIT_USER
    except BrokenPipeError:
        return EXIT_DONE  # the reader of the output has closed the pipe (| head)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or interrupted.is_set():
            print("andon: interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        raise
    return code


def commands() -> list[str]:
    """Return all commands in the order of --help."""
    found = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    return [name for name in _ORDER if name in found] + sorted(found - set(_ORDER))


def _answer(words: Sequence[str]) -> int:
    _log_to_stderr()  # first, because broken plug-ins are reported while the flags are collected
    try:
        _refuse_unknown_command(words)
        parser, flags = _parser(words)
        _refuse_unknown_flag(words, flags, parser)
        args, unknown = parser.parse_known_args(words)
        if unknown:
            raise _unknown(unknown[0], words, flags, parser)
        # only andon's own logger: the ONNX exporter logs ten thousand lines per file
        logging.getLogger("andon").setLevel(logging.DEBUG if args.verbose else logging.NOTSET)
        code: int = args.run(args)
    except SystemExit as done:  # argparse, after --help
        return int(done.code or 0)
    return code


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("andon: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Parser(FlagParser):
    """A parser whose error messages end with a hint to ``--help``."""

    def error(self, message: str) -> NoReturn:
        from andon.foundation.errors import ConfigError

        raise ConfigError(f"{message}. See '{self.prog} --help'.")


def _parser(words: Sequence[str]) -> tuple[_Parser, list[str]]:
    """Return the parser for these words, and the flags that are valid among them."""
    parser = _Parser(
        prog="andon",
        description="Detect defects with a model that is trained on good parts only. Train, export one checked model file, and "
        "monitor the line with it.",
        epilog="Start with 'andon demo'. Help for a command: andon COMMAND --help. "
        "Exit code 0: done. 1: a check failed. 2: a mistake of the user or bad input. 3: partly done.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("-v", "--verbose", action="store_true", help=_VERBOSE)
    parser.set_defaults(run=lambda args: _bare(parser, args))
    flags = list(parser.flags)
    listed = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    wanted = _first_name(words)
    # only --help without a command lists all of them. `andon doctor` must run even if the module of another command cannot
    # be imported, because the import of ONNX Runtime ends the process
    for name in commands() if wanted is None or wanted != words[0] else [wanted]:
        module = importlib.import_module(f"{__name__}.{name}")
        sub = listed.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        # without a default, which would undo a -v before the command
        sub.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=_VERBOSE)
        sub.set_defaults(run=module.run)
        if name == wanted:
            module.configure(sub)
            if hasattr(module, "configure_for"):  # flags that depend on other words, for example a detector's settings
                module.configure_for(sub, words[words.index(name) + 1 :])
            flags = list(sub.flags)
    return parser, flags


def _bare(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.version:
        from andon.runtime import __version__

        print(f"andon {__version__}")
        return EXIT_DONE
    parser.print_help()
    return EXIT_USER


def _first_name(words: Sequence[str]) -> str | None:
    return next((word for word in words if not word.startswith("-")), None)


def _refuse_unknown_command(words: Sequence[str]) -> None:
    from andon.foundation.errors import ConfigError
    from andon.foundation.settings import nearest

    first = _first_name(words)
    if first is not None and first not in commands():
        raise ConfigError(f"unknown command {first!r}{nearest(first, commands())}. Commands: {', '.join(commands())}.")


def _refuse_unknown_flag(words: Sequence[str], flags: Sequence[str], parser: _Parser) -> None:
    """Refuse unknown flags before argparse parses them. For ``--dta PATH`` it would only report that --data is missing."""
    for word in words:
        if word == "--":
            return
        if word.startswith("--") and word.partition("=")[0] not in flags:
            raise _unknown(word, words, flags, parser)


_ANSWERS = {"--threshold": "the threshold is part of the model file. 'andon export' sets it from --false-reject."}
"""Answers for flags that users look for and that no command has."""


def _unknown(word: str, words: Sequence[str], flags: Sequence[str], parser: _Parser) -> "ConfigError":
    from andon.foundation.errors import ConfigError
    from andon.foundation.settings import nearest

    flag = word.partition("=")[0]
    if flag in _ANSWERS:
        return ConfigError(f"unknown argument {word!r}: {_ANSWERS[flag]}")
    hint = ""
    command = _first_name(words)
    if command == "compare":
        from andon.cli.compare import quotes_hint

        hint = quotes_hint(words[: words.index(word)], words[words.index(word) :])
    if command == "monitor" and word.startswith("-"):
        from andon.cli._source_flags import flags_of_source, foreign_flags

        source = _given_source(word, words, parser)
        if source is not None:
            flags = [one for one in flags if one not in foreign_flags(source)]
            hint = flags_of_source(source, flag)
    # --seed means --seeds; --test, which may belong into quotes, does not mean --threads
    likeness = (
        0.8 if hint and command == "compare" else 0.75 if command == "score" else 0.5
    )  # --fps does not mean --maps
    near = nearest(flag, flags, likeness=likeness)
    see = f"See 'andon {command} --help'." if command else "See --help."
    if command == "score" and not near:  # users look for the settings of a source, which only the monitor has
        hint = f" It has {', '.join(sorted(one for one in flags if one.startswith('--') and one != '--help'))}."
    return ConfigError(f"unknown argument {word!r}{near}. {see}{hint}")


def _given_source(unknown: str, words: Sequence[str], parser: _Parser) -> "Source | None":
    """Return the source that the other words select, or None if they select none. It is not opened."""
    from andon.foundation.errors import AndonError
    from andon.sources.source import find

    kept = [word for word in words if word not in ("-h", "--help")]
    at = kept.index(unknown)
    for end in (at + 2, at + 1):  # with and without a value of the unknown flag
        try:
            args, _ = parser.parse_known_args([*kept[:at], *kept[end:]])
            if args.source is None:
                continue
            return find(args.source)
        except AndonError:
            continue
    return None

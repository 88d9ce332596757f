"""The command line: one thin module a command, found by its file; each imports its part of andon only when it runs."""

import argparse
import importlib
import logging
import pkgutil
import sys
from collections.abc import Sequence
from typing import NoReturn

from andon.runtime.errors import AndonError, ConfigError
from andon.runtime.settings import nearest

EXIT_DONE, EXIT_CHECK_FAILED, EXIT_USER, EXIT_PARTLY = 0, 1, 2, 3

_ORDER = ("demo", "train", "export", "inspect", "score", "evaluate", "bench", "monitor")
"""The order of the journey, for --help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 done, 1 a check failed, 2 the user's mistake or bad input, 3 partly done."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(words)
    try:
        _refuse_unknown_command(words)
        args, unknown = parser.parse_known_args(words)
        if unknown:
            raise ConfigError(
                f"unknown argument {unknown[0]!r}{nearest(unknown[0].split('=')[0], args.flags)}: see --help."
            )
        logging.basicConfig(
            level=logging.DEBUG if args.verbose else logging.WARNING, format="andon: %(message)s", stream=sys.stderr
        )
        code: int = args.run(args)
    except AndonError as error:
        print(f"andon: {error}", file=sys.stderr)
        return EXIT_USER
    except BrokenPipeError:
        # whoever read our output went away (| head); nothing more can be told to them
        sys.stderr.close()
        return EXIT_DONE
    except KeyboardInterrupt:
        print("andon: interrupted", file=sys.stderr)
        return 130
    return code


def commands() -> list[str]:
    """All commands, in the order of the journey."""
    found = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    return [name for name in _ORDER if name in found] + sorted(found - set(_ORDER))


class _Parser(argparse.ArgumentParser):
    """Argparse, with refusals of one line and a hint where to read on."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}\nTry '{self.prog} --help'.", file=sys.stderr)
        raise SystemExit(EXIT_USER)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="andon",
        description="Defect detection learnt from good parts only: train, export one checked file, watch the line with it.",
        epilog="Start with 'andon demo'. Each command explains itself: andon COMMAND --help. "
        "Exit codes: 0 done, 1 a check failed, 2 a mistake or bad input, 3 partly done.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(run=lambda args: _bare(parser, args), verbose=False, flags=[])
    listed = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    wanted = next((word for word in words if not word.startswith("-")), None)
    for name in commands():
        module = importlib.import_module(f"{__name__}.{name}")
        sub = listed.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("-v", "--verbose", action="store_true", help="tell more on stderr")
        if name == wanted:
            module.configure(sub)
            if hasattr(module, "configure_for"):  # flags that depend on other words, such as a detector's settings
                module.configure_for(sub, words)
        sub.set_defaults(run=module.run, flags=list(sub._option_string_actions))
    return parser


def _bare(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.version:
        from andon.runtime import __version__

        print(f"andon {__version__}")
        return EXIT_DONE
    parser.print_help()
    return EXIT_USER


def _refuse_unknown_command(words: Sequence[str]) -> None:
    first = next((word for word in words if not word.startswith("-")), None)
    if first is not None and first not in commands():
        raise ConfigError(
            f"there is no command {first!r}{nearest(first, commands())}. Commands: {', '.join(commands())}."
        )

"""Make the tokens of a monitor's web server: one for viewing, one for acting.

Each token is in a file of its own with mode 0600. The command prints the lines for the file of the line, and never the tokens.
People log in with a token at /login. Programs send it as 'Authorization: Bearer TOKEN'.

example:
  andon token secrets
  cat secrets/act-token
"""

import argparse
from pathlib import Path

SUMMARY = "make the tokens for viewing and acting on a monitor's page"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("folder", metavar="FOLDER", help="folder for the files view-token and act-token; it is created")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace existing tokens; a running monitor uses the new ones at once, and all logins end",
    )


def run(args: argparse.Namespace) -> int:
    """Write the files, and print their names and the lines for the configuration."""
    from andon.monitor.web.token_files import settings_lines, write_tokens

    paths = write_tokens(Path(args.folder), replace=args.force)
    for path in paths.values():
        print(f"written     {path}")
    print(f"\nPut these lines into the file of the line:\n\n{settings_lines(paths)}")
    return 0

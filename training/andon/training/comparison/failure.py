"""Record why a cell failed, as ``error.json`` in its folder."""

import traceback
from pathlib import Path

from andon.foundation.errors import AndonError
from andon.training.comparison.results import ERROR, Failure, write


def write_failure(error: Exception, place: Path, date: str) -> str:
    """Write an error into the folder of a cell, with its traceback if it is a bug. Return it in one line."""
    expected = isinstance(error, AndonError)
    trace = "" if expected else "".join(traceback.format_exception(error))
    line = one_line(error)
    write(place / ERROR, Failure(message=line, kind=type(error).__name__, traceback=trace, date=date))
    return line


def one_line(error: Exception) -> str:
    """Return an error in one line, with its class if it is a bug."""
    text = " ".join(str(error).split())
    return text if isinstance(error, AndonError) else f"{type(error).__name__}: {text}"

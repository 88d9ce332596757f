"""The process that runs next to a line: it reads sources, judges items in order, passes verdicts on, and keeps events.

`Monitor` runs lines inside another program.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from andon.monitor.monitor import Monitor

__all__ = ["Monitor"]


def __getattr__(name: str) -> Any:
    # modules of this package are imported alone, too: the import of all of them takes a quarter of a second
    if name == "Monitor":
        from andon.monitor.monitor import Monitor

        return Monitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

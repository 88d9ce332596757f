"""Count the verdicts on the windows of a log against their labels.

A window is defective if any of its rows is faulty. A window with rows in the recovery of a fault, but no faulty row, counts as
neither good nor defective (`andon.sources.series.log_truth`). A fault is detected if one of its windows is REJECT. INVALID
windows are counted separately. For comparison, `dummy_caught` gives the number of faults that random rejects at the promised
rate would catch.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from andon.evaluation.figures.chance import random_dummy, within_promise
from andon.foundation.errors import DataError
from andon.runtime.schema import Status
from andon.sources.series.log_truth import WindowTruth


class Counts(Struct, frozen=True, kw_only=True):
    """Numbers of windows and faults. `+` adds the counts of another run."""

    good: int = 0
    """Valid good windows."""
    false_rejects: int = 0
    """Valid good windows that are REJECT."""
    defective: int = 0
    """Valid defective windows."""
    misses: int = 0
    """Valid defective windows that are not REJECT."""
    neither: int = 0
    """Windows in recovery, with any verdict."""
    invalid: int = 0
    """INVALID windows outside recovery."""
    faults: int = 0
    caught: int = 0
    """Faults with at least one window that is REJECT."""
    dummy_caught: float = 0.0
    """Mean number of faults detected if valid windows are rejected at random at the promised rate."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def within_promise(self, alpha: float) -> bool:
        """Return whether the number of false rejects is at most the 99 % quantile for a true rate of alpha."""
        return within_promise(self.false_rejects, self.good, alpha)


def count(
    truth: Mapping[str, WindowTruth], status: Mapping[str, Status], *, alpha: float, faults: Iterable[str] = ()
) -> Counts:
    """Count the verdicts on windows.

    Args:
        truth: truth by window. Windows without a truth are not counted.
        status: status by window, at least for the windows in `truth`.
        alpha: the promised rate, also the rate of the random dummy.
        faults: all true faults. Faults that no window touches count as missed.

    Raises:
        DataError: a window has a truth but no verdict.
    """
    unjudged = next((key for key in truth if key not in status), None)
    if unjudged is not None:
        raise DataError(f"window {unjudged!r}: expected a verdict, got none.")
    chances: dict[str, int] = dict.fromkeys(faults, 0)
    caught: set[str] = set()
    tally = dict.fromkeys(("good", "false_rejects", "defective", "misses", "neither", "invalid"), 0)
    for key, window in truth.items():
        verdict = status[key]
        valid, rejected = verdict != Status.INVALID, verdict == Status.REJECT
        for event in window.events:
            chances[event] = chances.get(event, 0) + valid
            if rejected:
                caught.add(event)
        if not window.good and not window.faulty:
            tally["neither"] += 1
        elif not valid:
            tally["invalid"] += 1
        elif window.faulty:
            tally["defective"] += 1
            tally["misses"] += not rejected
        else:
            tally["good"] += 1
            tally["false_rejects"] += rejected
    return Counts(
        **tally, faults=len(chances), caught=len(caught), dummy_caught=random_dummy(list(chances.values()), alpha)
    )

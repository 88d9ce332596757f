"""Recognise the columns of a log that hold labels instead of measurements.

A label column must never become a channel: a detector would learn that it is always 0, and no live source sends it. The rule is
about names and values together, because neither alone is enough. ``fault_current`` is a measurement, and a valve is 0 or 1 too.

* ``anomaly``, ``label``, ``faulty`` and ``is_anomaly`` are labels. Other values than 0 and 1 are an error.
* A column is a label if a word of its name is in `WORDS` and all its values are 0 and 1, or words such as Normal and Attack.
  Examples are ``is_outlier``, ``Normal/Attack`` and ``fault_flag``.
* A constant column of 0 can be a label, too. It belongs to a log of good rows.
* ``changepoint`` and ``change_point`` are ignored.
"""

import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from andon.sources.series.tables import Column

NAMES = frozenset({"anomaly", "label", "faulty", "is_anomaly"})
"""Names in lower case that are always labels."""
WORDS = frozenset(
    [
        "anomaly",
        "anomalies",
        "anomalous",
        "abnormal",
        "attack",
        "attacks",
        "outlier",
        "outliers",
        "label",
        "labels",
        "fault",
        "faults",
        "faulty",
        "failure",
        "defect",
        "defects",
        "defective",
        "malfunction",
        "groundtruth",
    ]
)
"""Words in a name that make a column of two values a label."""
IGNORED = frozenset({"changepoint", "change_point"})

_BAD = frozenset(
    {"1", "true", "yes", "attack", "a ttack", "anomaly", "anomalous", "abnormal", "fault", "faulty", "bad", "defect"}
)
_GOOD = frozenset({"0", "false", "no", "normal", "good", "ok"})

Role = Literal["label", "ignored", "channel"]


def role_of(name: str, column: Column) -> Role:
    """Return what a column of a log is, from its name and its values.

    >>> role_of("Normal/Attack", np.array(["Normal", "Attack"])), role_of("fault_current", np.array([0.0, 3.2]))
    ('label', 'channel')
    """
    lowered = name.strip().lower()
    if lowered in IGNORED:
        return "ignored"
    if lowered in NAMES:
        return "label"
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.strip()).lower()
    words = set(re.findall(r"[a-z]+", spaced)) | {re.sub(r"[^a-z]", "", lowered)}
    return "label" if words & WORDS and not len(undecided(column)) else "channel"


def faulty_rows(column: Column) -> NDArray[np.bool_]:
    """Return ``[n]``: True for the rows that a label column marks as faulty."""
    if column.dtype.kind == "f":
        return np.asarray(column == 1, dtype=bool)
    return np.isin(_words(column), list(_BAD))


def undecided(column: Column) -> NDArray[np.intp]:
    """Return the rows whose value is neither 0 nor 1, nor a word for good or faulty. Empty cells are among them."""
    if column.dtype.kind == "f":
        return np.flatnonzero((column != 0) & (column != 1))
    return np.flatnonzero(~np.isin(_words(column), [*_BAD, *_GOOD]))


def _words(column: Column) -> NDArray[np.str_]:
    return np.char.strip(np.char.lower(column.astype(np.str_)))

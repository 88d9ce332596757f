"""Let threads of this process take turns more often, so that a decision or a signal is not late because another thread runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_S = 0.001
"""Time after which a thread that runs Python code gives way. Python's default of 5 ms made reject signals 4 to 5 ms late."""


@contextmanager
def frequent_switches() -> Iterator[None]:
    """Use `SWITCH_S` in the whole process, and the previous time afterwards. A shorter previous time stays."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before)

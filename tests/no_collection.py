"""Keep the garbage collector from running, for Pythons in which it can break `ast.parse`.

CPython 3.11.0 to 3.11.7 count the depth of the syntax tree in one variable for all threads. If a garbage collection begins while
the tree is built, Python code runs: a destructor, or a function in `gc.callbacks` (hypothesis has one). Another thread can then
format a traceback, which also builds a tree. The first `ast.parse` fails: ``SystemError: AST constructor recursion depth
mismatch``. pytest parses the source of each failed assertion, and such an error ends it with INTERNALERROR.

Source: https://github.com/python/cpython/issues/106905
"""

import contextlib
import gc
import sys
from collections.abc import Iterator

AFFECTED = (3, 11, 0) <= sys.version_info < (3, 11, 8)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Switch the garbage collector off for a moment, if this Python needs it."""
    if not AFFECTED or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

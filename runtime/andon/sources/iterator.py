"""Use any Python iterator as a stream: frames from a camera's own library, or windows from a program.

Example::

    stream = stream_of(my_camera.frames(), name="my camera")
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from andon.foundation.errors import DataError
from andon.foundation.printable import printable
from andon.runtime.items import Data, Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.clock import Clock, SystemClock


def stream_of(
    iterable: Iterable[Any],
    *,
    name: str = "iterator",
    clock: Clock | None = None,
    copy: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Item | Lost]:
    """Yield the elements of any iterable as items. The iterable is not touched before the first `next`.

    An element is an array, an `Item` or a `Lost`. An array is a frame, uint8 or uint16 ``[H, W]`` or ``[H, W, C]`` with C = 1
    (grey) or 3 (RGB), or a window of floats ``[T, C]``. It gets the key ``NAME#0``, ``NAME#1`` and so on, and the wall time of
    its arrival. None stands for a frame that could not be taken, and becomes `Lost` (LOST). Another element becomes `Lost`
    (WRONG_INPUT), and the stream goes on.

    Args:
        iterable: the elements. If it has a method `close`, as a generator has, the method is called at the end.
        name: begin of the keys, and the group of the items.
        clock: clock for the times. Default: the machine's clock.
        copy: copy each array. Without a copy, the iterable must not change an array that it has yielded.
        stop: asked before each element; True ends the stream. It cannot interrupt an iterable that waits.

    Raises:
        DataError: the iterable raised an exception, which is the cause.
    """
    clock = clock or SystemClock()
    elements: Iterator[Any] | None = None
    try:
        number = 0
        while not stop():
            try:
                elements = iter(iterable) if elements is None else elements
                element = next(elements)
            except StopIteration:
                return
            except Exception as error:
                raise DataError(
                    f"{printable(name)}: the iterator failed after {number} elements: "
                    f"{printable(f'{type(error).__name__}: {error}')}"
                ) from error
            ref = Ref(key=f"{name}#{number}", group=name, time_s=clock.wall_s())
            number += 1
            yield element if isinstance(element, Item | Lost) else _item(ref, element, copy=copy)
    finally:
        close = getattr(elements, "close", None)
        if close is not None:
            close()


def _item(ref: Ref, element: Any, *, copy: bool) -> Item | Lost:
    if element is None:
        return Lost(ref, Reason.LOST, f"{printable(ref.key)}: the iterator gave no data")
    data = _data(element)
    if data is None:
        shape, kind = getattr(element, "shape", None), getattr(element, "dtype", type(element).__name__)
        return Lost(
            ref,
            Reason.WRONG_INPUT,
            f"{printable(ref.key)}: expected a frame uint8 or uint16 [H, W], [H, W, 1] or [H, W, 3], or a window of floats "
            "[T, C], got "
            f"{kind}{'' if shape is None else f' {list(shape)}'}",
        )
    return Item(ref, data.copy() if copy and np.may_share_memory(data, element) else data)


def _data(element: Any) -> Data | None:
    """Return an element as the data of an item, or None if it is neither a frame nor a window."""
    if not isinstance(element, np.ndarray) or 0 in element.shape:
        return None
    if element.dtype in (np.uint8, np.uint16):
        if element.ndim == 2:
            return element[..., None]
        return element if element.ndim == 3 and element.shape[2] in (1, 3) else None
    if element.dtype.kind == "f" and element.ndim == 2:
        with np.errstate(over="ignore"):
            return np.asarray(element, np.float32)
    return None

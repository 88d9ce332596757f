"""Sets of epochs. All observers use this type for the epochs to draw or keep.

An option that is None was not given. Then a resumed run uses its recorded epochs, and a new run uses the observer's default.
"""

from typing import Literal

from msgspec import Struct

from andon.foundation.errors import ConfigError

MOST = 1_000_000_000
"""Largest epoch number accepted."""


class Epochs(Struct, frozen=True, kw_only=True):
    """A set of epochs, counted from 1: ``epoch in epochs``. It is empty if no field is given.

    >>> [epoch for epoch in range(1, 12) if epoch in parse_epochs("every=5")]
    [5, 10]
    >>> bool(parse_epochs("1,10,50")), bool(NONE)
    (True, False)
    """

    listed: tuple[int, ...] = ()
    """Exactly these epochs."""
    every: int | None = None
    """This epoch and its multiples."""
    growing: Literal["decades", "tenths"] | None = None
    """``decades``: 1, 3, 10, 30, 100 and so on.

    ``tenths``: each epoch up to 20, each 2nd up to 50, each 5th up to 100, each 10th up to 200, and so on. From 20 on, the step
    is at most a tenth of the epoch.
    """

    def __contains__(self, epoch: int) -> bool:
        return (
            epoch in self.listed
            or (self.every is not None and epoch % self.every == 0)
            or (self.growing == "decades" and _is_in_decades(epoch))
            or (self.growing == "tenths" and _is_in_tenths(epoch))
        )

    def __bool__(self) -> bool:
        return bool(self.listed) or self.every is not None or self.growing is not None

    def with_first(self) -> "Epochs":
        """Return these epochs. Add epoch 1 if they are periodic, because an animation needs a beginning."""
        return self if self.every is None else Epochs(listed=(1, *self.listed), every=self.every, growing=self.growing)


NONE = Epochs()
DECADES = Epochs(growing="decades")
TENTHS = Epochs(growing="tenths")


def each(every: int) -> Epochs:
    """Return the epochs `every`, 2 * `every`, 3 * `every` and so on.

    Raises:
        ConfigError: `every` is below 1 or above `MOST`.
    """
    if not 1 <= every <= MOST:
        raise ConfigError(f"every: expected an integer from 1 (each epoch) to {MOST}, got {every}.")
    return Epochs(every=every)


def just(*epochs: int) -> Epochs:
    """Return exactly these epochs.

    Raises:
        ConfigError: an epoch is below 1 or above `MOST`.
    """
    for epoch in epochs:
        if not 1 <= epoch <= MOST:
            raise ConfigError(f"epoch: expected an integer from 1 to {MOST}, got {epoch}.")
    return Epochs(listed=tuple(sorted(set(epochs))))


def parse_epochs(text: str) -> Epochs:
    """Read epochs as the command line takes them: ``all``, ``none``, ``every=5``, ``1,10,50``.

    Raises:
        ConfigError: the text has another form.
    """
    if text in ("all", "none"):
        return each(1) if text == "all" else NONE
    kind, equals, number = text.partition("=")
    if equals and kind == "every" and _is_number(number):
        return each(int(number))
    words = [word.strip() for word in text.split(",")]
    if not all(map(_is_number, words)):
        raise ConfigError(f"expected all, none, every=N, or a list of epochs such as 1,10,50, got {text!r}.")
    return just(*map(int, words))


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= len(str(MOST))


Recorded = int | tuple[int, ...] | None
"""Epochs as a run's record stores them: a period, a list, or None for the default."""


def to_record(epochs: Epochs | None) -> Recorded:
    """Return the form in which a run's record stores these epochs."""
    if epochs is None or epochs.growing is not None:
        return None
    return epochs.listed if epochs.every is None else epochs.every


def from_record(recorded: Recorded) -> Epochs | None:
    """Return the epochs that a run's record stores; None for the default."""
    if recorded is None:
        return None
    return each(recorded) if isinstance(recorded, int) else just(*recorded)


def _is_in_decades(epoch: int) -> bool:
    """Return whether an epoch is 1 or 3 times a power of ten.

    >>> [epoch for epoch in range(1, 1001) if _is_in_decades(epoch)]
    [1, 3, 10, 30, 100, 300, 1000]
    """
    power = 10 ** (len(str(epoch)) - 1)
    return epoch in (power, 3 * power)


def _is_in_tenths(epoch: int) -> bool:
    """Return whether an epoch is a multiple of its step.

    The step is 1 up to 20, 2 up to 50, and 5 up to 100. Above 100 the pattern repeats, multiplied by 10, by 100 and so on.

    >>> [sum(map(_is_in_tenths, range(1, last + 1))) for last in (20, 100, 1000)]
    [20, 45, 80]
    """
    power = 1
    while epoch > 100 * power:
        power *= 10
    step = next(step for step, last in ((1, 20), (2, 50), (5, 100)) if epoch <= last * power)
    return epoch % (step * power) == 0

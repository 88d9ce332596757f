"""Every error that andon raises on purpose: one tree, a class only where a caller would act differently.

A message says what was expected, what came and what to do. Anything else that escapes is a bug and keeps its traceback.
"""

from andon.foundation.printable import printable


class AndonError(Exception):
    """Something that the user can mend; the command line prints it as one line and exits with code 2."""


class ModelFileError(AndonError):
    """The model file is damaged, forged, blank or of another schema: get another file, do not judge with this one.

    The message is one printable line of bounded length, because names inside a forged file can hold terminal commands.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, limit=2000))


class InputError(AndonError):
    """A frame or window that this model file cannot judge (shape, type, size): the camera or the caller changed."""


class JudgeError(AndonError):
    """The runtime could not compute a verdict although the input was right, for example for lack of memory."""


class DeviceError(AndonError):
    """The device asked for is not there, or does not compute what the file's golden sample expects."""


class DataError(AndonError):
    """A folder, picture, log or table of truth that cannot be read as what it should be."""


class CalibrationError(AndonError):
    """Scores that cannot carry a statement about false rejects."""


class NotEnoughParts(CalibrationError):
    """Fewer good parts than the promise asked for needs; the message names what is needed and what can be had.

    `need` and `have` count independent calibration parts; None where the parts are dependent.
    """

    def __init__(self, message: str, *, need: int | None = None, have: int | None = None) -> None:
        super().__init__(message)
        self.need = need
        self.have = have


class ParityError(AndonError):
    """The exported graph does not compute what the PyTorch module computes."""


class TrainingError(AndonError):
    """Training cannot start, resume or go on: diverged, another version's run folder, no such weights."""


class ConfigError(AndonError):
    """A name, flag or value that does not exist or is out of bounds; the message offers the nearest right one."""


class MissingExtra(AndonError):
    """An optional package is not installed; the message names the extra that brings it."""

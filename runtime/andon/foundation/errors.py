"""All errors that andon raises on purpose. There is a class for each case that a caller may handle differently.

A message states what was expected, what was found and what to do. Any other exception is a bug and keeps its traceback.
"""

from andon.foundation.printable import printable


class AndonError(Exception):
    """Base class of all errors that a user can correct. The command line prints one line and exits with code 2."""


class ModelFileError(AndonError):
    """The model file is damaged, forged, blank or of another schema. Do not judge with it; get another file.

    The message is one printable line of bounded length, because names inside a forged file can contain terminal commands.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, limit=2000))


class InputError(AndonError):
    """The model file cannot judge this frame or window: wrong shape, type or size.

    The usual reason is that the camera or the calling code was changed.
    """


class JudgeError(AndonError):
    """The runtime could not compute a verdict although the input was right, for example because memory ran out."""


class DeviceError(AndonError):
    """The requested device is missing, or it does not reproduce the file's golden sample."""


class DataError(AndonError):
    """A folder, picture, log or truth table cannot be read, or its content has another structure than expected."""


class CalibrationError(AndonError):
    """The calibration scores are too few or too dependent to support a statement about false rejects."""


class NotEnoughParts(CalibrationError):
    """There are fewer good parts than the requested promise needs. The message states what is needed and what is possible.

    `need` and `have` are numbers of independent calibration parts. They are None if the parts are dependent. `asked` names the
    statement that needs them, and `offer` is a sentence with what these parts support. Both are empty for a false-reject rate.
    `windows_missing` is the number of further windows that the promise needs if they depend on each other over `tau` windows;
    None for parts.
    """

    def __init__(
        self,
        message: str,
        *,
        need: int | None = None,
        have: int | None = None,
        asked: str = "",
        offer: str = "",
        windows_missing: int | None = None,
        tau: float = 1.0,
    ) -> None:
        super().__init__(message)
        self.windows_missing = windows_missing
        self.tau = tau
        self.need = need
        self.have = have
        self.asked = asked
        self.offer = offer


class ParityError(AndonError):
    """The exported graph does not compute what the PyTorch module computes."""


class PrecisionError(AndonError):
    """A file at a lower precision is not faster on this machine, or decides differently. The message has the figures."""


class TrainingError(AndonError):
    """Training cannot start, resume or continue: it diverged, the run folder is of another version, or weights are missing."""


class ConfigError(AndonError):
    """A name, flag or value does not exist or is out of range. The message suggests the most similar valid name."""


class MissingExtra(AndonError):
    """An optional package is not installed. The message gives the command that installs it."""

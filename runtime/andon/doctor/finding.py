"""Record the result of one check."""

from msgspec import Struct


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check."""

    subject: str
    """Subject of the check, for example ``onnxruntime`` or ``provider CUDA``."""
    ok: bool
    """False if something that is installed or was asked for does not work."""
    text: str
    """Readable result in one line."""
    remedy: str = ""
    """The command or the sentence that solves the problem. Empty if there is nothing to do."""
    warning: bool = False
    """True if it works, but the text names a risk."""

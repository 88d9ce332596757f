"""Frame sizes on the command line, as HEIGHTxWIDTH in pixels."""

from andon.foundation.errors import ConfigError


def frame_size(flag: str, text: str | None) -> tuple[int, int] | None:
    """Return height and width; None if the flag was not given.

    Raises:
        ConfigError: the text is not a frame size.
    """
    if text is None:
        return None
    pieces = text.lower().split("x")
    if len(pieces) != 2 or not all(piece.isdigit() and int(piece) >= 16 for piece in pieces):
        raise ConfigError(
            f"{flag}: expected HEIGHTxWIDTH of at least 16 pixels each, got {text!r}. Example: {flag} 1080x1920."
        )
    return int(pieces[0]), int(pieces[1])

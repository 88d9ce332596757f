"""Messages for a detector that gets data of the wrong kind."""

from andon.foundation.errors import DataError


def expected_frames(detector: str) -> DataError:
    """Return the error for a detector of frames that got windows."""
    return DataError(
        f"{detector}: expected frames (pictures), got windows of sensor data. Choose a detector for windows, for example "
        "window_vae."
    )


def expected_windows(detector: str) -> DataError:
    """Return the error for a detector of windows that got frames."""
    return DataError(
        f"{detector}: expected windows of sensor data, got frames (pictures). Choose a detector for frames, for example "
        "patchcore."
    )

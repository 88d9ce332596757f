"""Judge the folders that andon writes without being asked: temporary files and the cache."""

from msgspec import Struct

from andon.doctor.finding import Finding

LEAST_FREE_BYTES = 100 << 20
"""Free space below which a folder counts as nearly full."""


class Folder(Struct, frozen=True, kw_only=True):
    """Facts about a folder."""

    purpose: str
    """``temporary files`` or ``cache``."""
    path: str
    variable: str
    """Environment variable that names another folder."""
    error: str = ""
    """Readable error of an attempt to write there. Empty if it worked."""
    free_bytes: int | None = None


def check_folder(folder: Folder) -> Finding:
    """Return whether the folder can be written and has space."""
    remedy = f"export {folder.variable}=/a/folder/with/space"
    subject = f"folder of the {folder.purpose}" if folder.purpose == "cache" else f"folder of {folder.purpose}"
    if folder.error:
        return Finding(subject=subject, ok=False, text=f"{folder.path}: {folder.error}", remedy=remedy)
    if folder.free_bytes is not None and folder.free_bytes < LEAST_FREE_BYTES:
        text = f"{folder.path}: only {folder.free_bytes / 1e6:.0f} MB free"
        return Finding(subject=subject, ok=True, warning=True, text=text, remedy=remedy)
    return Finding(subject=subject, ok=True, text=f"{folder.path} can be written")

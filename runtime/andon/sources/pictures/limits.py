"""Upper limits of a picture. A file is untrusted input: it must not take the memory of the machine."""

MAX_PIXELS = 50_000_000
"""Largest height times width. With OpenCV's own limit, a PNG of 389 kB became 2.3 GB of memory."""

MAX_BYTES = 200_000_000
"""Largest file."""

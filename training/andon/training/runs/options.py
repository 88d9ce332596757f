"""Options of a training that do not belong to the settings of a detector."""

from msgspec import Struct

from andon.runtime.schema import Detrend, Mask
from andon.training.fitting.device import Device
from andon.training.runs.window_choice import WindowRequest


class TrainOptions(Struct, frozen=True, kw_only=True):
    """Options of `train`. A resumed run uses its recorded options, and refuses another calibration share and other masks."""

    seed: int = 0
    """Seed of split, weights, order and noise."""
    group: str | None = None
    """Regular expression or CSV file that defines which items belong together (`Grouped`). None: the groups of the
    source."""
    calibration_share: float | None = None
    """Share of the good parts to hold back for calibration, above 0 and at most 0.8; None: 0.3. If the detector uses
    validation, a tenth is for validation. The rest is for training."""
    frame_size: tuple[int, int] | None = None
    """Height and width of the frames to use. Frames of other sizes are left out and named. None: frames of all sizes."""
    ignore: tuple[str, ...] | Mask = ()
    """Pixels that do not count: black and white pictures, rectangles and polygons (`mask_picture.mask_of`), or a mask. For
    frames of one size only."""
    region: tuple[str, ...] | Mask = ()
    """The only pixels that count, as `ignore`."""
    detrend: Detrend = "none"
    """Trend that is subtracted from each channel of a window. For sensor logs only."""
    context: str | None = None
    """Channel that selects how the other channels are standardised. For sensor logs only."""
    window: WindowRequest = WindowRequest()
    """Length, hop and period of windows, if they are not in the detector's settings: in seconds, or chosen from the log."""
    sort: bool = False
    """Sort the rows of a log by their times. Otherwise a log out of order is refused."""
    device: Device = "auto"
    """Device to train on. ``auto`` uses CUDA if available. ``mps`` is untested (`device`)."""
    threads: int | None = None
    """Number of PyTorch threads on the CPU. None: 1 for windows, PyTorch's own setting for frames. The networks for windows
    are so small that a second thread only costs time. A different number gives different, equally good weights."""

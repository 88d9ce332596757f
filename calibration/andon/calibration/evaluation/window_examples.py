"""Windows beside each other: a typical good one and one of each fault, and what the file rebuilt of them."""

import numpy as np

from andon.calibration.evaluation.evaluate import Judged
from andon.calibration.evaluation.logs import LogVerdicts
from andon.calibration.evaluation.page import Picture
from andon.calibration.evaluation.plots import DEFECT, GOOD, new_figure, png_of, short, tidy
from andon.calibration.evaluation.stretch_pictures import MOST_CHANNELS, name_channel
from andon.calibration.evaluation.stretches import judged_windows
from andon.runtime.detector import Detector
from andon.runtime.schema import Status, WindowSpec
from andon.sources.items import Item


def examples(detector: Detector, verdicts: LogVerdicts, most_kinds: int = 3) -> Picture | None:
    """A typical good window beside a typical one of each fault, and what the file rebuilt of them; None without faults."""
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    by_kind: dict[str, list[Judged]] = {}
    for one in judged_windows(verdicts):
        if one.status != Status.INVALID:
            by_kind.setdefault(one.kind if one.defective else "", []).append(one)
    kinds = [kind for kind in sorted(by_kind) if kind][:most_kinds]
    if not kinds:
        return None
    shown = []
    for kind in ([""] if "" in by_kind else []) + kinds:
        ordered = sorted(by_kind[kind], key=lambda one: (one.score, one.ref.key))
        middle = ordered[len(ordered) // 2]
        item = verdicts.windows.read(middle.ref)
        if isinstance(item, Item):
            shown.append((kind or "good", middle, item.data, detector(item.data).evidence.get("reconstruction")))
    places = list(range(min(len(spec.channels), MOST_CHANNELS)))
    figure = new_figure(2.9 * len(shown) + 0.8, 1.5 * len(places) + 1.0)
    grid = figure.subplots(len(places), len(shown), sharex=True, sharey="row", squeeze=False)
    time = np.arange(spec.steps) * spec.period_s
    for column, (kind, one, data, rebuilt) in enumerate(shown):
        grid[0][column].set_title(f"{short(kind)}\nscore {one.score:.4g}, {one.status.name}", parse_math=False, size=10)
        for row, place in enumerate(places):
            axes = grid[row][column]
            tidy(axes)
            axes.plot(time, data[:, place], color=GOOD, lw=1.4, label="measured")
            if rebuilt is not None and rebuilt.shape == data.shape:
                axes.plot(time, rebuilt[:, place], color=DEFECT, lw=1.4, ls="--", label="rebuilt")
            if column == 0:
                name_channel(axes, spec, place)
        grid[-1][column].set_xlabel("s")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return Picture(
        name="windows.png",
        png=png_of(figure),
        alt="Windows beside each other: "
        + ", ".join(f"{kind} (score {one.score:.4g})" for kind, one, _, _ in shown)
        + ".",
        caption="The window with the median score of its class, for each."
        + (
            ""
            if len(kinds) == len(by_kind) - ("" in by_kind)
            else f" {len(kinds)} of {len(by_kind) - 1} kinds of fault."
        ),
        shown="wide",
    )

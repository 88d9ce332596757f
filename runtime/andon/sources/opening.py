"""Open a path or name as the collection that a given model file can judge, and find the truth about its items.

Pictures get the colours that the model file expects, and logs are cut into its windows. The truth is read from where it is
stored: folder names, a table, or the source itself.
"""

import logging
import os
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec, InputSpec, WindowSpec
from andon.sources.addresses import redact, shown_address
from andon.sources.collection import Collection
from andon.sources.grouping import Grouped
from andon.sources.kinds import logs
from andon.sources.pictures.decode import Channels
from andon.sources.pictures.folder import layout, open_listing
from andon.sources.pictures.folder_walk import MASKS
from andon.sources.series.good_rows import good_rows
from andon.sources.series.interval_truth import is_interval_table, read_intervals, with_intervals
from andon.sources.series.log import Log
from andon.sources.series.windows import cut
from andon.sources.source import collect, find, named
from andon.sources.subset import Subset
from andon.sources.truth import Truth, table_truth, tree_masks, tree_truth

logger = logging.getLogger(__name__)

Part = Literal["everything", "evaluation"]


def open_for(text: str, spec: InputSpec, *, part: Part = "everything") -> Collection:
    """Open all items at a path in the form that `spec` requires.

    Args:
        text: a folder or file of pictures, a video, a log, or the name of a simulation.
        spec: the input specification of the model file that will judge the items.
        part: ``evaluation`` opens only the test set of a folder tree that has one.

    Raises:
        DataError: there is no such data at the path.
        ConfigError: the data are windows and the model file judges frames, or the other way round.
    """
    source = find(text)
    if isinstance(spec, FrameSpec):
        if source.labelled is not None:  # only its test pictures: the others are for training
            return source.labelled(text, _channels(spec))[0]
        if source.name == "images":
            from andon.sources.kinds import images

            opener = images.evaluation_part if part == "evaluation" else images.everything
            return opener(text, channels=spec.channels)
        if source.name == "video":
            from andon.sources.kinds.video import Video

            return Video(Path(text), channels=spec.channels)
    opened = collect(text)
    if isinstance(spec, FrameSpec):
        if isinstance(opened, Log):
            raise ConfigError(
                f"{shown_address(text)}: this model file judges frames: expected pictures or a video, got rows of sensor data "
                f"from the source {source.name}."
            )
        return opened
    if not isinstance(opened, Log):
        raise ConfigError(
            f"{shown_address(text)}: this model file judges windows of sensor data: expected a log, got frames from the source "
            f"{source.name}."
        )
    return cut(opened, spec)


def open_log(text: str, *, sort: bool = False, truth: Path | None = None) -> Log:
    """Open sensor logs.

    Args:
        text: a log, a folder of logs, or the name of a simulation.
        sort: sort the rows of each file by their times.
        truth: a table of intervals ``start,end[,kind][,file]``. It replaces the labels of the log.

    Raises:
        DataError: there is no log, or the table does not fit it.
        ConfigError: the data are frames, `sort` is given for a simulation, or `truth` is another kind of table.
    """
    source = find(text)
    if sort and source.name != "logs":
        raise ConfigError(
            f"--sort: expected a log file or a folder of them, got the source {source.name}. Leave it out."
        )
    opened = logs.collect(text, sort=True) if sort else collect(text)
    if not isinstance(opened, Log):
        raise ConfigError(f"{shown_address(text)}: expected a log, got frames from the source {source.name}.")
    if truth is None:
        return opened
    if not is_interval_table(truth):
        raise ConfigError(
            f"{truth}: expected a table of intervals for logs, with the columns start,end[,kind][,file], got another file. "
            "Example of a line: 2020-03-09 10:14:33,2020-03-09 10:20:00,leak."
        )
    return with_intervals(opened, read_intervals(truth), str(truth))


def open_good(text: str, spec: InputSpec) -> Collection:
    """Open the good parts at a path in the form that `spec` requires, and refuse folders that may hold others.

    Folders follow the rules of training: of a tree with train/good, only these parts are taken. Rows of a log that are labelled
    as faulty are left out.

    Raises:
        DataError: there is no such data, or the folder may contain defects.
        ConfigError: the data are windows and the model file judges frames, or the other way round.
    """
    if isinstance(spec, WindowSpec):
        opened = collect(text)
        return cut(good_rows(opened), spec) if isinstance(opened, Log) else open_for(text, spec)
    if find(text).name != "images":
        return open_for(text, spec)
    good = collect(text)
    everything = open_for(text, spec)  # it converts colours as the file expects
    keys = {ref.key for ref in good.refs} if not isinstance(good, Log) else set()
    return Subset(everything, [ref for ref in everything.refs if ref.key in keys])


def open_defects(text: str, spec: InputSpec) -> Collection:
    """Open known defects at a path in the form that `spec` requires, and refuse a folder that may hold good parts.

    Raises:
        DataError: there is no such data, or a folder in it is named good.
        ConfigError: the data are windows and the model file judges frames, or the other way round.
    """
    found = open_for(text, spec)
    good = [ref.key for ref in found.refs if "good" in (part.lower() for part in PurePosixPath(ref.key).parts[:-1])]
    if good:
        raise DataError(
            f"{text}: expected defects only, got {len(good)} items in a folder named good (the first: {good[0]}). Give the "
            "folders of the defects."
        )
    return found


def labelled_for(
    text: str, spec: InputSpec, *, table: Path | None = None, group: str | None = None
) -> tuple[Collection, Truth]:
    """Open the frames to evaluate on, together with their truth.

    Args:
        text: a path, or the name of a source that knows the truth about its frames.
        spec: the input specification of the model file that will judge the frames.
        table: a CSV file ``key,label[,kind]``. Its labels replace the labels of the data; the masks of the data stay.
        group: the rule for frames that show the same part, see `grouping.parse_rule`.

    Raises:
        DataError: there are no such frames, their truth is unknown, or `group` does not match a frame.
        ConfigError: the model file judges windows, or `group` is not a valid rule.
    """
    source = named(text)
    if source is not None and source.labelled is not None and isinstance(spec, FrameSpec):
        collection, truth = source.labelled(text, _channels(spec))
    else:
        collection = open_for(text, spec, part="evaluation")
        truth = tree_truth(Path(text)) if table is None else _NOTHING
    collection = collection if group is None else Grouped(collection, group)
    return collection, truth if table is None else _masked(table_truth(table), text, truth)


def truth_of(text: str, *, table: Path | None = None) -> Truth:
    """Return the truth about the items at a path or name without opening any of them; the keys are those of `labelled_for`.

    Raises:
        DataError: the truth is unknown.
        ConfigError: the data are a log; its windows have no truth before they are cut.
    """
    if table is not None:
        return table_truth(table)
    source = named(text)
    if source is not None and source.labelled is not None:
        return source.labelled(text, None)[1]
    kind = find(text).name
    if kind != "images":
        raise ConfigError(
            f"{shown_address(text)}: expected a tree of pictures or a labelled set, which have a label for each item, got "
            f"{kind}. The label of a window depends on its length, which written verdicts do not contain. Judge the log with the "
            f"model file (andon evaluate FILE.onnx --data {shown_address(text)}), or give a table with columns key,label."
        )
    return tree_truth(Path(text))


def shown(text: str) -> str:
    """Return the last part of a path, or a source name without folders, for texts that other people read."""
    if os.path.exists(text):  # noqa: PTH110 - unlike pathlib's, it takes any text, however long
        return Path(text).resolve().name
    source = named(text)
    return source.shown(text) if source is not None and source.shown is not None else redact(text)


def good_for(text: str, spec: InputSpec) -> Collection:
    """Open the good frames at a path.

    In a tree these are the frames of ``test/good``, because no training uses them. In a labelled set they are the good test
    frames, in a folder with ``good/`` the frames of that folder, and elsewhere all frames.

    Raises:
        DataError: there are no such frames.
        ConfigError: the model file judges windows.
    """
    source = named(text)
    if source is not None and source.labelled is not None:
        opened, truth = labelled_for(text, spec)
        return Subset(opened, [ref for ref in opened.refs if not truth.defective.get(ref.key, True)])
    opened = open_for(text, spec, part="evaluation")
    root = Path(text)
    shape = layout(open_listing(root)) if os.path.isdir(text) else "plain"  # noqa: PTH112 - see `shown`
    if shape not in ("tree", "test alone"):
        logger.warning(
            "%s: andon cannot check whether the model was trained on these good parts. If it was, the results are too "
            "optimistic.",
            text,
        )
    if shape == "plain":
        return opened
    truth = tree_truth(root)
    return Subset(opened, [ref for ref in opened.refs if not truth.defective.get(ref.key, True)])


def _masked(labels: Truth, text: str, known: Truth) -> Truth:
    """Return the labels of a table, with the masks that the data contain for its defective parts."""
    defects = [key for key, defective in labels.defective.items() if defective]
    masks = {key: known.masks[key] for key in defects if key in known.masks} or tree_masks(Path(text), defects)
    if not masks and (Path(text) / MASKS).is_dir():
        logger.warning(
            "%s: no mask in %s belongs to a defective part of the table, so there are no pixel metrics; expected "
            "%s/TYPE/STEM_mask.png for test/TYPE/STEM.png",
            text,
            MASKS,
            MASKS,
        )
    return msgspec.structs.replace(labels, masks=masks)


_NOTHING = Truth(defective={}, kind={})


def _channels(spec: FrameSpec) -> Channels:
    return 1 if spec.channels == 1 else 3

"""A path or name as the collection that a given model file can judge: pictures in its colours, logs cut into its windows.

And what is true of it, wherever that is written: in its folders, in a table, or in the source itself.
"""

import logging
import os
from pathlib import Path
from typing import Literal

import msgspec

from andon.foundation.errors import ConfigError
from andon.runtime.schema import FrameSpec, InputSpec
from andon.sources.addresses import redact, shown_address
from andon.sources.collection import Collection
from andon.sources.grouping import Grouped
from andon.sources.pictures.decode import Channels
from andon.sources.pictures.folder import layout, open_listing
from andon.sources.pictures.folder_walk import MASKS
from andon.sources.series.log import Log
from andon.sources.series.windows import cut
from andon.sources.source import collect, find, named
from andon.sources.subset import Chosen
from andon.sources.truth import Truth, table_truth, tree_masks, tree_truth

logger = logging.getLogger(__name__)

Part = Literal["everything", "evaluation"]


def open_for(text: str, spec: InputSpec, *, part: Part = "everything") -> Collection:
    """All items at a path, as `spec` wants them.

    Args:
        text: a folder or file of pictures, a video, a log, or the name of a simulation.
        spec: of the model file that will judge them.
        part: ``evaluation`` takes only the test part of a tree that has one.

    Raises:
        DataError: nothing of the kind there.
        ConfigError: windows for a model of frames, or the other way round.
    """
    source = find(text)
    if isinstance(spec, FrameSpec):
        if source.labelled is not None:  # whose training pictures are there to be learnt from, not to be judged
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
                f"{shown_address(text)}: this model file judges frames, and {source.name} gives rows of sensor data."
            )
        return opened
    if not isinstance(opened, Log):
        raise ConfigError(
            f"{shown_address(text)}: this model file judges windows of sensor data, and {source.name} gives frames."
        )
    return cut(opened, spec)


def labelled_for(
    text: str, spec: InputSpec, *, table: Path | None = None, group: str | None = None
) -> tuple[Collection, Truth]:
    """The frames to evaluate on, and what is true of them.

    Args:
        text: a path, or the name of a source that knows the truth of its frames.
        spec: of the model file that will judge them.
        table: a CSV file ``key,label[,kind]``, whose labels then count alone; masks stay those of the data.
        group: which frames show one part, as `grouping.parse_rule` takes it.

    Raises:
        DataError: no such frames, nothing that says what is true of them, or a frame that `group` does not fit.
        ConfigError: the model file judges windows, or `group` is no rule.
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
    """What is true of the items at a path or name, without opening one of them; as `labelled_for`.

    Raises:
        DataError: nothing that says so.
        ConfigError: logs, whose windows have no truth before they are cut.
    """
    if table is not None:
        return table_truth(table)
    source = named(text)
    if source is not None and source.labelled is not None:
        return source.labelled(text, None)[1]
    kind = find(text).name
    if kind != "images":
        raise ConfigError(
            f"{shown_address(text)}: expected a tree of pictures or a labelled set, which say what is true of an item by its "
            f"name; found {kind}. What is true of a window depends on its length, which written verdicts do not tell: judge the "
            f"log with the model file (andon evaluate FILE.onnx --data {shown_address(text)}), or give a table with columns "
            "key,label."
        )
    return tree_truth(Path(text))


def shown(text: str) -> str:
    """A path by its last piece, a name without the folders in it: for what others read."""
    if os.path.exists(text):  # noqa: PTH110 - unlike pathlib's, it takes any text, however long
        return Path(text).resolve().name
    source = named(text)
    return source.shown(text) if source is not None and source.shown is not None else redact(text)


def good_for(text: str, spec: InputSpec) -> Collection:
    """Good frames at a path: of a tree with ``test/good`` those, which nothing learns from; else all that there are.

    Raises:
        DataError: nothing of the kind there.
        ConfigError: the model file judges windows.
    """
    source = named(text)
    if source is not None and source.labelled is not None:
        opened, truth = labelled_for(text, spec)
        return Chosen(opened, [ref for ref in opened.refs if not truth.defective.get(ref.key, True)])
    opened = open_for(text, spec, part="evaluation")
    root = Path(text)
    shape = layout(open_listing(root)) if os.path.isdir(text) else "plain"  # noqa: PTH112 - see `shown`
    if shape not in ("tree", "test alone"):
        logger.warning("%s: whether a model has learnt from these good parts cannot be told from here", text)
    if shape == "plain":
        return opened
    truth = tree_truth(root)
    return Chosen(opened, [ref for ref in opened.refs if not truth.defective.get(ref.key, True)])


def _masked(labels: Truth, text: str, known: Truth) -> Truth:
    """Labels of a table, with the masks that the data have of its defective parts."""
    defects = [key for key, defective in labels.defective.items() if defective]
    masks = {key: known.masks[key] for key in defects if key in known.masks} or tree_masks(Path(text), defects)
    if not masks and (Path(text) / MASKS).is_dir():
        logger.warning(
            "%s: no mask in %s belongs to a defective part of the table, so that there are no figures of pixels; expected "
            "%s/TYPE/STEM_mask.png for test/TYPE/STEM.png",
            text,
            MASKS,
            MASKS,
        )
    return msgspec.structs.replace(labels, masks=masks)


_NOTHING = Truth(defective={}, kind={})


def _channels(spec: FrameSpec) -> Channels:
    return 1 if spec.channels == 1 else 3

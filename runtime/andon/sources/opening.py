"""A path or name as the collection that a given model file can judge: pictures in its colours, logs cut into its windows."""

import logging
from pathlib import Path
from typing import Literal

from andon.runtime.errors import ConfigError
from andon.runtime.schema import FrameSpec, InputSpec
from andon.sources.chosen import Chosen
from andon.sources.items import Collection
from andon.sources.log import Log
from andon.sources.picture_folder import layout, open_listing
from andon.sources.source import collect, find
from andon.sources.truth import tree_truth
from andon.sources.windows import cut

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
            raise ConfigError(f"{text}: this model file judges frames, and {source.name} gives rows of sensor data.")
        return opened
    if not isinstance(opened, Log):
        raise ConfigError(f"{text}: this model file judges windows of sensor data, and {source.name} gives frames.")
    return cut(opened, spec)


def good_for(text: str, spec: InputSpec) -> Collection:
    """Good frames at a path: of a tree with ``test/good`` those, which nothing learns from; else all that there are.

    Raises:
        DataError: nothing of the kind there.
        ConfigError: the model file judges windows.
    """
    opened = open_for(text, spec, part="evaluation")
    root = Path(text)
    shape = layout(open_listing(root)) if root.is_dir() else "plain"
    if shape != "tree":
        logger.warning("%s: whether a model has learnt from these good parts cannot be told from here", text)
    if shape == "plain":
        return opened
    truth = tree_truth(root)
    return Chosen(opened, [ref for ref in opened.refs if not truth.defective.get(ref.key, True)])

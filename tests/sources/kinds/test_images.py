"""Folders of pictures as a collection, and as a stream while files arrive."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Channel, FrameSpec, Reason, WindowSpec
from andon.sources.collection import FoundFrames
from andon.sources.kinds import images
from andon.sources.live.folder_watch import FollowSettings

RGB = FrameSpec(channels=3, size=(8, 8))


def put(path: Path, level: int = 100, *, channels: int = 3, size: tuple[int, int] = (6, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((*size, channels), level, np.uint8)
    assert cv2.imwrite(str(path), picture[..., 0] if channels == 1 else picture)
    return path


def keys(collection: images.Pictures) -> list[str]:
    return [ref.key for ref in collection.refs]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = ["train/good/10.png", "train/good/2.png", "train/spare/1.png", "test/good/0.png", "test/crack/0.png"]
    for name in [*names, "ground_truth/crack/0_mask.png"]:
        put(tmp_path / name)
    return tmp_path


def test_learning_from_a_tree_sees_only_its_good_training_part(tree: Path) -> None:
    assert keys(images.collect(str(tree))) == ["train/good/2.png", "train/good/10.png"]


def test_evaluation_of_a_tree_sees_only_its_test_part(tree: Path) -> None:
    assert keys(images.evaluation_part(str(tree))) == ["test/crack/0.png", "test/good/0.png"]


def test_scoring_a_tree_sees_every_picture_but_no_mask(tree: Path) -> None:
    assert len(keys(images.everything(str(tree)))) == 5


def test_learning_from_good_beside_defects_sees_only_good(tmp_path: Path) -> None:
    for name in ("good/0.png", "scratch/0.png"):
        put(tmp_path / name)

    assert keys(images.collect(str(tmp_path))) == ["good/0.png"]
    assert keys(images.evaluation_part(str(tmp_path))) == ["good/0.png", "scratch/0.png"]


@pytest.mark.parametrize("defective", ["bottle/test/broken/0.png", "Scratch/0.png", "nok/0.png"])
def test_learning_never_sees_a_defective_part(defective: str, tmp_path: Path) -> None:
    put(tmp_path / ("bottle/train/good/0.png" if "bottle" in defective else "Good/0.png"))
    put(tmp_path / defective)

    if "bottle" in defective:
        with pytest.raises(DataError, match=f"--data {tmp_path}/bottle"):
            images.collect(str(tmp_path))
    else:
        assert keys(images.collect(str(tmp_path))) == ["Good/0.png"]


def test_a_tree_without_a_test_part_cannot_be_evaluated(tmp_path: Path) -> None:
    put(tmp_path / "train/good/0.png")

    with pytest.raises(DataError, match="expected test/TYPE with pictures to evaluate on"):
        images.evaluation_part(str(tmp_path))


def test_a_copy_of_the_data_with_other_times_is_the_same_collection(tmp_path: Path) -> None:
    """Check the order, because it decides the split, the fingerprint and the weights."""
    for number in range(3):
        os.utime(put(tmp_path / "a" / f"{number}.png"), (1000 - number, 1000 - number))
        os.utime(put(tmp_path / "b" / f"{number}.png"), (1000 + number, 1000 + number))

    first, second = (images.everything(str(tmp_path / name)) for name in ("a", "b"))

    assert first.refs == second.refs


def test_a_single_picture_is_a_collection_of_one(tmp_path: Path) -> None:
    picture = put(tmp_path / "part.png", level=7)

    collection = images.collect(str(picture))
    (ref,) = collection.refs
    item = collection.read(ref)
    assert ref.key == "part.png"
    assert isinstance(item, Item)
    assert (item.data == 7).all()


def test_grey_everywhere_is_found_as_one_channel(tmp_path: Path) -> None:
    put(tmp_path / "0.png", channels=1)
    put(tmp_path / "1.jpg", channels=1, size=(9, 3))

    sizes = (((6, 8), 1), ((9, 3), 1))
    assert images.collect(str(tmp_path)).found == FoundFrames(channels=1, frame_size=None, largest=(6, 8), sizes=sizes)


def test_one_colour_picture_makes_all_of_them_rgb(tmp_path: Path) -> None:
    put(tmp_path / "0.png", channels=1)
    put(tmp_path / "1.png", channels=3)

    collection = images.collect(str(tmp_path))
    items = [collection.read(ref) for ref in collection.refs]
    assert collection.found == FoundFrames(channels=3, frame_size=(6, 8), largest=(6, 8))
    assert [item.data.shape for item in items if isinstance(item, Item)] == [(6, 8, 3), (6, 8, 3)]


def test_what_the_pictures_are_is_found_from_their_beginnings(tmp_path: Path) -> None:
    path = put(tmp_path / "0.png")
    path.write_bytes(path.read_bytes()[:40])

    assert images.collect(str(tmp_path)).found.frame_size == (6, 8)


def test_a_header_beyond_the_first_64_kb_is_found_all_the_same(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "0.tiff"), noise)
    assert (tmp_path / "0.tiff").stat().st_size > 2 * 65_536

    assert images.collect(str(tmp_path)).found.frame_size == (200, 300)


def test_a_damaged_picture_is_lost_and_the_others_are_not(tmp_path: Path) -> None:
    put(tmp_path / "0.png")
    damaged = put(tmp_path / "1.jpg")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    put(tmp_path / "2.png").unlink()
    put(tmp_path / "2.png")

    collection = images.collect(str(tmp_path))
    items = [collection.read(ref) for ref in collection.refs]
    assert [item.reason if isinstance(item, Lost) else None for item in items] == [None, Reason.UNREADABLE, None]
    assert isinstance(items[1], Lost)
    assert items[1].detail.startswith("1.jpg: JPEG: expected a complete picture, but the file ends early")


def test_a_picture_that_is_gone_is_lost(tmp_path: Path) -> None:
    path = put(tmp_path / "0.png")
    put(tmp_path / "1.png")
    collection = images.collect(str(tmp_path))
    path.unlink()

    item = collection.read(collection.refs[0])
    assert isinstance(item, Lost)
    assert item.reason is Reason.LOST


def test_pictures_of_sixteen_bits_keep_all_of_them(tmp_path: Path) -> None:
    levels = np.arange(48, dtype=np.uint16).reshape(6, 8) + 4000
    for name in ("0.png", "1.tiff"):
        assert cv2.imwrite(str(tmp_path / name), levels)
    collection = images.collect(str(tmp_path))

    assert collection.found == FoundFrames(channels=1, frame_size=(6, 8), largest=(6, 8), dtype="uint16")
    for ref in collection.refs:
        item = collection.read(ref)
        assert isinstance(item, Item)
        np.testing.assert_array_equal(item.data, levels[..., None])


def test_a_folder_with_eight_and_sixteen_bits_is_refused_with_an_example_of_each(tmp_path: Path) -> None:
    put(tmp_path / "a.png", channels=1)
    put(tmp_path / "b.png", channels=1)
    assert cv2.imwrite(str(tmp_path / "c.png"), np.zeros((6, 8), np.uint16))

    with pytest.raises(
        DataError, match=r"in all 3 pictures, got 8 in 2 of them, such as a\.png, and more in 1, such as c"
    ):
        _ = images.collect(str(tmp_path)).found


def test_a_folder_is_accepted_with_pictures_or_empty_but_not_with_logs_alone(tmp_path: Path) -> None:
    put(tmp_path / "pictures/deep/0.png")
    (tmp_path / "pictures/names.csv").write_text("a,b")
    (tmp_path / "empty/below").mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/0.csv").write_text("a,b")

    accepted = [
        name for name in ("pictures", "empty", "logs", "nowhere") if images.SOURCE.accepts(str(tmp_path / name))
    ]
    assert accepted == ["pictures", "empty"]


# --- streaming ---


class Script(FakeClock):
    """A clock that runs events while the code sleeps. It stops the stream at the end of the script."""

    def __init__(self, *events: tuple[float, Callable[[], object]], end_s: float = 10.0) -> None:
        super().__init__()
        self.stop = threading.Event()
        self._events = sorted([*events, (end_s, self.stop.set)], key=lambda event: event[0])

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        while self._events and self._events[0][0] <= self.now_s:
            self._events.pop(0)[1]()


def followed(root: Path, clock: Script, **options: object) -> list[tuple[str, object]]:
    """Return the key of each item with its grey level or its reason."""
    stream = images.stream(str(root), RGB, FollowSettings(**options), clock, clock.stop)  # type: ignore[arg-type]
    return [(item.ref.key, item.reason if isinstance(item, Lost) else int(item.data[0, 0, 0])) for item in stream]


def test_a_followed_folder_gives_what_is_there_and_then_what_arrives_each_once(tmp_path: Path) -> None:
    put(tmp_path / "10.png", 10)
    put(tmp_path / "9.png", 9)
    clock = Script((2.0, lambda: put(tmp_path / "below/3.png", 3)), (4.0, lambda: put(tmp_path / "1.png", 1)))

    assert followed(tmp_path, clock) == [("9.png", 9), ("10.png", 10), ("below/3.png", 3), ("1.png", 1)]


@pytest.mark.parametrize(("channels", "warning"), [(1, "a grey picture"), (4, "the alpha channel")])
def test_oddities_of_pictures_are_reported_once_a_collection_and_once_a_stream(
    channels: int, warning: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        put(tmp_path / f"{number}.png", channels=channels)

    for _ in range(2):
        collection = images.everything(str(tmp_path), channels=3)
        for ref in (*collection.refs, *collection.refs):
            collection.read(ref)
    followed(tmp_path, Script(), settle_s=0.0)

    assert [message.partition(":")[0] for message in caplog.messages if warning in message] == ["0.png"] * 3


def test_oddities_of_pictures_given_one_by_one_are_told_once_a_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        alone = images.everything(str(put(tmp_path / f"{number}.png", channels=4)))
        assert isinstance(alone.read(alone.refs[0]), Item)
        if number == 0:  # another test may have caused the warning before
            caplog.clear()

    assert caplog.messages == []


def test_an_empty_folder_is_waited_at(tmp_path: Path) -> None:
    assert followed(tmp_path, Script((3.0, lambda: put(tmp_path / "0.png", 5)))) == [("0.png", 5)]


def test_a_rewritten_file_comes_again(tmp_path: Path) -> None:
    path = put(tmp_path / "0.png", 1)

    def rewrite() -> None:
        put(path, 2)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))

    assert followed(tmp_path, Script((2.0, rewrite))) == [("0.png", 1), ("0.png", 2)]


def test_a_file_that_is_still_being_written_waits_until_it_is_whole(tmp_path: Path) -> None:
    whole = put(tmp_path / "elsewhere.png", 4).read_bytes()
    (tmp_path / "elsewhere.png").unlink()
    path = tmp_path / "in/0.png"
    path.parent.mkdir()
    quarters = [(1.0 + 0.4 * n, lambda n=n: path.write_bytes(whole[: len(whole) * n // 4])) for n in (1, 2, 3, 4)]

    assert followed(path.parent, Script(*quarters)) == [("0.png", 4)]


def test_a_truncated_file_is_retried_once_and_then_lost(tmp_path: Path) -> None:
    path = put(tmp_path / "0.jpg")
    path.write_bytes(path.read_bytes()[:-20])
    clock = Script()
    stream = images.stream(str(tmp_path), RGB, FollowSettings(settle_s=1.0), clock, clock.stop)

    item = next(iter(stream))
    assert isinstance(item, Lost)
    assert item.reason is Reason.UNREADABLE
    assert 2.0 <= clock.now_s < 3.0, "settled, tried, settled again, tried again"
    assert list(stream) == []


def test_a_truncated_file_that_becomes_whole_before_its_retry_is_given(tmp_path: Path) -> None:
    path = put(tmp_path / "0.jpg", 50)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])

    assert followed(tmp_path, Script((1.5, lambda: path.write_bytes(whole))), settle_s=1.0) == [("0.jpg", 50)]


def test_a_file_taken_away_after_it_settled_is_lost_not_forgotten(tmp_path: Path) -> None:
    put(tmp_path / "0.png")
    second = put(tmp_path / "1.png")
    clock = Script()
    stream = images.stream(str(tmp_path), RGB, FollowSettings(), clock, clock.stop)
    assert isinstance(next(stream), Item)
    second.unlink()

    item = next(stream)
    assert isinstance(item, Lost)
    assert (item.ref.key, item.reason) == ("1.png", Reason.LOST)


def test_a_folder_that_is_away_for_a_while_is_stale_and_gives_nothing_twice(tmp_path: Path) -> None:
    root = tmp_path / "share"
    put(root / "0.png", 1)
    away = tmp_path / "away"
    clock = Script((2.0, lambda: root.rename(away)), (7.0, lambda: away.rename(root)))

    assert followed(root, clock, stale_after_s=2.0) == [
        ("0.png", 1),
        ("share", Reason.STALE),
        ("share", Reason.STALE),
    ]


def test_a_picture_that_is_replaced_faster_than_it_settles_is_stale_again_and_again(tmp_path: Path) -> None:
    def replace() -> None:
        put(tmp_path / ".next.png").replace(tmp_path / "latest.png")

    (tmp_path / "in").mkdir()
    clock = Script(*((1.0 + 0.25 * tick, replace) for tick in range(40)), end_s=11.0)
    stream = images.stream(str(tmp_path), RGB, FollowSettings(), clock, clock.stop)
    items = [item for item in stream if isinstance(item, Lost)]

    assert [(item.ref.key, item.reason) for item in items] == [("latest.png", Reason.STALE)] * 4
    assert "it keeps changing within 0.5 s" in items[0].detail


def test_files_that_are_taken_away_before_they_settle_are_lost_one_by_one(tmp_path: Path) -> None:
    def arrive(number: int) -> None:
        put(tmp_path / f"{number}.png")

    def leave(number: int) -> None:
        (tmp_path / f"{number}.png").unlink()

    moments = [(1.0 + at, lambda at=at: arrive(at)) for at in range(4)]
    moments += [(1.4 + at, lambda at=at: leave(at)) for at in range(4)]

    assert followed(tmp_path, Script(*sorted(moments, key=lambda each: each[0]))) == [
        (f"{number}.png", Reason.LOST) for number in range(4)
    ]


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("kind", ["pipe", "link to itself", "link to nothing", "device"])
def test_an_odd_entry_is_one_invalid_item_and_the_rest_is_judged(tmp_path: Path, kind: str, follow: bool) -> None:
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link to itself": "a.png", "link to nothing": "nowhere", "device": "/dev/zero"}[kind])
    put(tmp_path / "b.png", 7)

    assert followed(tmp_path, Script(), follow=follow) == [("a.png", Reason.UNREADABLE), ("b.png", 7)]


@pytest.mark.parametrize("follow", [True, False])
def test_a_folder_below_that_cannot_be_listed_is_one_invalid_item_and_the_rest_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follow: bool
) -> None:
    real, closed = os.scandir, tmp_path / "lost+found"

    def scandir(path: "os.PathLike[str]") -> object:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    closed.mkdir()
    put(tmp_path / "b.png", 7)
    monkeypatch.setattr(os, "scandir", scandir)  # the tests may run as root, which may list all folders

    assert followed(tmp_path, Script(), follow=follow) == [("lost+found", Reason.UNREADABLE), ("b.png", 7)]


def test_the_folder_where_one_stands_has_a_name_when_it_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "share"
    put(root / "0.png", 1)
    monkeypatch.chdir(root)
    clock = Script((2.0, lambda: monkeypatch.setattr(os, "scandir", _away)))

    assert {item[0] for item in followed(Path(), clock, stale_after_s=2.0)} == {"0.png", "share"}


def _away(_path: object) -> object:
    raise OSError(errno.EHOSTDOWN, os.strerror(errno.EHOSTDOWN))


def test_a_folder_that_is_not_followed_ends(tmp_path: Path) -> None:
    put(tmp_path / "0.png", 1)
    put(tmp_path / "1.png", 2, channels=1)

    assert followed(tmp_path, Script(), follow=False) == [("0.png", 1), ("1.png", 2)]


def test_frames_have_the_channels_that_the_model_file_wants(tmp_path: Path) -> None:
    put(tmp_path / "0.png", channels=1)
    stop = threading.Event()
    for wanted in (1, 3):
        spec = FrameSpec(channels=wanted, size=(8, 8))
        (item,) = images.stream(str(tmp_path), spec, FollowSettings(follow=False), FakeClock(), stop)
        assert isinstance(item, Item)
        assert item.data.shape[2] == wanted


def test_stopping_ends_a_folder_watch_within_two_seconds_whatever_the_poll(tmp_path: Path) -> None:
    clock = Script(end_s=5.0)
    followed(tmp_path, clock, poll_s=3600.0)

    assert clock.now_s <= 5.2


def test_a_model_file_for_windows_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "0.png")
    spec = WindowSpec(steps=8, hop=4, period_s=1.0, channels=(Channel(name="pressure"),))

    with pytest.raises(ConfigError, match="windows of sensor data"):
        images.stream(str(tmp_path), spec, FollowSettings(), FakeClock(), threading.Event())


@pytest.fixture
def data() -> Path:
    if "ANDON_DATA" not in os.environ:
        pytest.skip("needs ANDON_DATA")
    return Path(os.environ["ANDON_DATA"])


@pytest.mark.data
def test_real_trees_have_the_counts_that_their_description_states(data: Path) -> None:
    tile = images.collect(str(data / "magnetic_tile"))
    assert len(tile.refs) == 762
    assert (tile.found.channels, tile.found.frame_size) == (1, None)
    assert len(images.evaluation_part(str(data / "magnetic_tile")).refs) == 582

    bottle = images.collect(str(data / "mvtec_ad/bottle"))
    assert bottle.found == FoundFrames(channels=3, frame_size=(512, 512), largest=(512, 512))
    assert isinstance(bottle.read(Ref(key=bottle.refs[0].key)), Item)


def test_pictures_of_one_size_are_chosen_by_their_headers_and_unreadable_ones_are_kept(tmp_path: Path) -> None:
    for number, size in enumerate([(6, 8), (8, 6), (6, 8)]):
        put(tmp_path / f"{number}.png", size=size)
    (tmp_path / "3.png").write_bytes(b"damaged")
    kept, others = images.collect(str(tmp_path)).of_size((6, 8))

    assert keys(kept) == ["0.png", "2.png", "3.png"]
    assert others == ("1.png",)
    assert kept.found.frame_size == (6, 8)

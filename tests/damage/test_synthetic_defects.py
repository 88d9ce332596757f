"""Synthetic defects: good parts and damaged copies of them, with truth and masks."""

import numpy as np
import pytest

from andon.damage.kinds import HELD_OUT
from andon.damage.synthetic_defects import EACH, SyntheticDefects
from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.mask_pixels import pack
from andon.runtime.schema import FrameSpec, Reason
from andon.sources.collection import FoundFrames
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_log


class Striped(SyntheticFrames):
    """Return pictures with stripes. A smear on a smooth picture is not visible and is lost."""

    def read(self, ref: Ref) -> Item:
        item = super().read(ref)
        assert isinstance(item, Item)
        striped = item.data.copy()
        striped[::4] //= 2
        striped[:, ::6] //= 2
        return Item(ref, striped)


class Flat:
    """Return flat grey pictures. Smearing or warping changes nothing on them."""

    def __init__(self, count: int) -> None:
        self.found = FoundFrames(channels=3, frame_size=(32, 32), largest=(32, 32))
        self.refs = [Ref(key=f"{number}.png") for number in range(count)]

    def read(self, ref: Ref) -> Item | Lost:
        return Item(ref, np.full((32, 32, 3), 90, np.uint8))


def test_each_good_part_stands_beside_its_damaged_copies() -> None:
    defects = SyntheticDefects(SyntheticFrames(12))
    truth = defects.truth

    assert len(defects.refs) == 12 * (1 + EACH)
    assert sum(truth.defective.values()) == 12 * EACH
    assert set(truth.kind.values()) == set(HELD_OUT)
    assert set(truth.masks) == {key for key, bad in truth.defective.items() if bad}


def test_good_parts_are_as_they_were_and_copies_differ_where_the_mask_says() -> None:
    frames = Striped(6)
    defects = SyntheticDefects(frames)
    truth = defects.truth
    for ref in defects.refs:
        item = defects.read(ref)
        assert isinstance(item, Item)
        original = frames.read(Ref(key=ref.key.partition("+")[0]))
        assert isinstance(original, Item)
        mask = truth.mask(ref.key)
        if truth.defective[ref.key]:
            assert mask is not None
            assert np.abs(item.data.astype(int) - original.data)[mask].mean() > 5
        else:
            assert mask is None
            assert np.array_equal(item.data, original.data)


def test_the_order_of_reading_changes_nothing() -> None:
    defects = SyntheticDefects(Striped(6), seed=4)
    forwards = {ref.key: defects.read(ref) for ref in defects.refs}
    backwards = {ref.key: defects.read(ref) for ref in reversed(defects.refs)}

    for key, item in forwards.items():
        again = backwards[key]
        assert isinstance(item, Item)
        assert isinstance(again, Item)
        assert np.array_equal(item.data, again.data)


def test_of_many_good_parts_some_are_taken_evenly() -> None:
    defects = SyntheticDefects(SyntheticFrames(900), most=100)
    taken = [int(ref.key[:3]) for ref in defects.refs if "+" not in ref.key]

    assert len(taken) == 100
    assert np.diff(taken).min() == np.diff(taken).max() == 9


def test_a_picture_on_which_nothing_can_be_seen_is_lost_with_the_reason() -> None:
    defects = SyntheticDefects(Flat(6))
    lost = [item for ref in defects.refs if isinstance(item := defects.read(ref), Lost)]

    assert lost
    assert all(item.reason == Reason.OTHER and "nearly flat" in item.detail for item in lost)
    smeared = next(ref.key for ref in defects.refs if ref.key.endswith("smear"))
    with pytest.raises(DataError, match="there is no mask"):
        defects.truth.mask(smeared)


def test_logs_and_empty_folders_are_refused() -> None:
    with pytest.raises(DataError, match="none"):
        SyntheticDefects(SyntheticFrames(0))
    with pytest.raises(DataError, match="expected frames, got sensor logs"):
        SyntheticDefects(synthetic_log(10))  # type: ignore[arg-type]


class Deep(Striped):
    """Return the same pictures with 16 bits, in levels from 1000 on."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.found = FoundFrames(channels=3, frame_size=(40, 56), largest=(40, 56), dtype="uint16")

    def read(self, ref: Ref) -> Item:
        return Item(ref, (super().read(ref).data.astype(np.uint16) * 10 + 1000).astype(np.uint16))


def test_deep_pictures_get_the_same_damage_as_the_same_pictures_with_eight_bits() -> None:
    spec = FrameSpec(channels=3, size=(16, 16), dtype="uint16", black=1000.0, white=3550.0)
    shallow, deep = SyntheticDefects(Striped(6)), SyntheticDefects(Deep(6), spec)
    compared = 0
    for ref, other in zip(shallow.refs, deep.refs, strict=True):
        one, same = shallow.read(ref), deep.read(other)
        if isinstance(one, Item):
            assert isinstance(same, Item)
            assert same.data.dtype == np.uint16
            np.testing.assert_array_equal((same.data.astype(int) - 1000) / 10, one.data)
            compared += 1
    assert compared > 6


def test_with_masks_all_damage_is_where_the_file_judges() -> None:
    marked = np.zeros((40, 56), np.bool_)
    marked[:, 30:] = True
    spec = FrameSpec(channels=3, size=(16, 16), ignore=pack(marked))
    frames = Striped(8)
    defects = SyntheticDefects(frames, spec)
    truth = defects.truth

    seen = 0
    for ref in defects.refs:
        item = defects.read(ref)
        if truth.defective[ref.key] and isinstance(item, Item):
            good = frames.read(Ref(key=ref.key.partition("+")[0]))
            assert np.array_equal(item.data[marked], good.data[marked])
            mask = truth.mask(ref.key)
            assert mask is not None
            assert not (mask & marked).any()
            seen += 1
    assert seen >= 12


def test_a_frame_of_another_size_than_the_masks_gets_no_damage() -> None:
    marked = np.zeros((30, 56), np.bool_)
    marked[:, 30:] = True
    defects = SyntheticDefects(Striped(2), FrameSpec(channels=3, size=(16, 16), ignore=pack(marked)))

    lost = [defects.read(ref) for ref in defects.refs if "+" in ref.key]

    assert all(isinstance(item, Lost) and item.reason is Reason.WRONG_INPUT for item in lost)

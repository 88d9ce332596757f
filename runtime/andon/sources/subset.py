"""Use some items of a collection as a collection."""

from collections.abc import Sequence

from andon.runtime.items import Item, Lost, Ref
from andon.sources.collection import Collection, Found


class Subset:
    """Some items of a collection."""

    def __init__(self, collection: Collection, refs: Sequence[Ref]) -> None:
        self._collection = collection
        self._refs = refs

    @property
    def found(self) -> Found:
        """A description of the whole collection."""
        return self._collection.found

    @property
    def refs(self) -> Sequence[Ref]:
        """The chosen items, in the given order."""
        return self._refs

    def read(self, ref: Ref) -> Item | Lost:
        """Return one item."""
        return self._collection.read(ref)

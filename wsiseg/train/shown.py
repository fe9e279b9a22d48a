"""Tile stores without the classes that nobody has annotated."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsiseg.classes import IGNORE_INDEX, ClassSchema
from wsiseg.train.split import Store


def shown_schema(stores: Sequence[Store]) -> ClassSchema:
    """The classes that a labelled tile of any store shows, and the background.

    Who outlined nothing but glomeruli has the default classes in the stores all the same. A class whose
    container is left out lies in the next container that is not. Where no class is shown at all, none is
    left out.

    Args:
        stores: All of the same classes.
    """
    schema = stores[0].schema
    pixels_K = sum(
        (store.class_pixels[store.labelled].sum(axis=0) for store in stores), np.zeros(len(schema))
    )
    kept = [one for one, pixels in zip(schema.foreground, pixels_K[1:], strict=True) if pixels]
    if not kept:
        return schema
    names = {one.name for one in kept}
    return ClassSchema(
        (schema.classes[0], *(replace(one, inside=_container(schema, one.name, names)) for one in kept))
    )


def _container(schema: ClassSchema, name: str, kept: set[str]) -> str | None:
    holder = schema[name].inside
    return holder if holder is None or holder in kept else _container(schema, holder, kept)


class NarrowStore:
    """A store by fewer classes; what its attributes mean says ``Store``.

    Args:
        store: The store.
        schema: Some of its classes, by name; its labelled tiles show no other one.
    """

    def __init__(self, store: Store, schema: ClassSchema) -> None:
        self._store = store
        self.schema = schema
        self.name, self.key, self.slide_fingerprint = store.name, store.key, store.slide_fingerprint
        self.tile_px, self.mpp, self.labelled = store.tile_px, store.mpp, store.labelled
        kept = [store.schema.index(name) for name in schema.names]
        self.class_pixels: NDArray[np.int64] = store.class_pixels[:, kept]
        self._new_label = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, dtype=np.uint8)
        self._new_label[kept] = np.arange(len(kept))

    def __len__(self) -> int:
        return len(self._store)

    def images(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        """Tiles ``(n, T, T, 3)``."""
        return self._store.images(ids)

    def labels(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        """Label maps ``(n, T, T)``."""
        return np.asarray(self._new_label[self._store.labels(ids)])

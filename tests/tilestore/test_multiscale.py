"""Pyramids for others to read: arrays by level, attributes of the group."""

import numpy as np
import zarr

from wsiseg.geometry import Box
from wsiseg.tilestore import MultiscaleWriter


def test_levels_and_attributes_come_back(tmp_path):
    writer = MultiscaleWriter.create(
        tmp_path / "image", [(30, 20), (15, 10)], chunk_px=8, attributes={"ome": {"version": "0.5"}}
    )
    part = np.arange(12, dtype=np.uint8).reshape(3, 4)
    writer.write(1, Box.from_size(5, 6, 4, 3), part)
    group = zarr.open_group(tmp_path / "image", mode="r")
    assert dict(group.attrs) == {"ome": {"version": "0.5"}}
    assert group["0"].shape == (20, 30)
    assert not group["0"][:].any()
    assert np.array_equal(group["1"][6:9, 5:9], part)
    assert group["1"][:].sum() == part.sum()
    assert group["1"].metadata.dimension_names == ("y", "x")


def test_an_older_one_is_replaced(tmp_path):
    for size in ((30, 20), (10, 10)):
        MultiscaleWriter.create(tmp_path / "image", [size], chunk_px=8, attributes={})
    assert zarr.open_group(tmp_path / "image", mode="r")["0"].shape == (10, 10)

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from wsiseg.tilestore.jpeg import JpegCodec
from wsiseg.tilestore.layout import LZ4_LEVEL, ZSTD_LEVEL, tiles_in_shard
from wsiseg.tilestore.shard import ShardWriter, encode_image, encode_label


@pytest.fixture
def tiles():
    return np.random.default_rng(0).integers(0, 30, (11, 16, 16, 3), dtype=np.uint8)


def encode_as_jpeg(image):
    return encode_image(image, 90)


CODECS = {
    encode_image: {"compressors": BloscCodec(cname="lz4", clevel=LZ4_LEVEL, shuffle="noshuffle")},
    encode_label: {"compressors": ZstdCodec(level=ZSTD_LEVEL)},
    encode_as_jpeg: {"compressors": None, "serializer": JpegCodec(90)},
}


def make_array(path, encode):
    return zarr.create_array(
        path,
        shape=(11, 16, 16, 3),
        chunks=(1, 16, 16, 3),
        shards=(8, 16, 16, 3),
        dtype="uint8",
        **CODECS[encode],
        fill_value=255,
        config={"write_empty_chunks": True},
    )


def write_shard(target, chunks, slots):
    with ShardWriter(target, slots) as shard:
        for chunk in chunks:
            shard.add(chunk)
        shard.finish()


@pytest.mark.parametrize("encode", CODECS)
def test_bytes_are_those_that_zarr_writes(tmp_path, tiles, encode):
    make_array(tmp_path / "zarr", encode)[...] = tiles
    for shard, part in enumerate((tiles[:8], tiles[8:])):
        name = f"c/{shard}/0/0/0"
        write_shard(tmp_path / "own" / name, [encode(tile) for tile in part], 8)
        assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "zarr" / name).read_bytes()


@pytest.mark.parametrize("encode", CODECS)
def test_missing_chunks_read_as_the_fill_value(tmp_path, tiles, encode):
    array = make_array(tmp_path / "zarr", encode)
    chunks = [encode(tile) if i % 3 else None for i, tile in enumerate(tiles[:8])]
    write_shard(tmp_path / "zarr/c/0/0/0/0", chunks, 8)
    for i in range(8):
        expected = tiles[i].astype(int) if i % 3 else np.full((16, 16, 3), 255)
        error = np.abs(array[i].astype(int) - expected).mean()
        assert error <= (6 if i % 3 and encode is encode_as_jpeg else 0)


def test_a_shard_of_nothing_is_no_file(tmp_path):
    target = tmp_path / "c/0"
    write_shard(target, [(b"old",)], 2)
    write_shard(target, [None, None], 2)
    assert not target.exists()


def test_what_was_never_finished_is_no_shard(tmp_path, tiles):
    array = make_array(tmp_path / "zarr", encode_image)
    with pytest.raises(OSError, match="full"), ShardWriter(tmp_path / "zarr/c/0/0/0/0", 8) as shard:
        shard.add(encode_image(tiles[0]))
        raise OSError("full")
    with pytest.raises(ValueError, match="checksum"):
        array[0]


def test_large_tiles_make_no_large_shards():
    assert [tiles_in_shard(side) for side in (32, 256, 512, 1024, 8192)] == [64, 64, 64, 16, 1]


@pytest.mark.parametrize(("values", "shrinks"), [(256, False), (4, True)])
def test_images_that_do_not_shrink_are_stored_as_they_are(tmp_path, values, shrinks):
    image = np.random.default_rng(0).integers(0, values, (1, 256, 256, 3), dtype=np.uint8)
    array = zarr.create_array(
        tmp_path,
        shape=image.shape,
        chunks=image.shape,
        shards=image.shape,
        dtype="uint8",
        **CODECS[encode_image],
    )
    chunk = encode_image(image[0])
    write_shard(tmp_path / "c/0/0/0/0", [chunk], 1)
    np.testing.assert_array_equal(array[...], image)
    size = sum(memoryview(part).nbytes for part in chunk)
    assert size < image.nbytes if shrinks else size == image.nbytes + 16


def test_a_smooth_edge_does_not_hide_the_noise_within():
    """Half glass, half tissue: glass shrinks to nothing, so the whole is worth compressing."""
    image = np.full((256, 256, 3), 240, dtype=np.uint8)
    image[:128] = np.random.default_rng(0).integers(0, 256, (128, 256, 3), dtype=np.uint8)
    assert sum(map(len, encode_image(image))) < 0.6 * image.nbytes

import numpy as np
import pytest
from tilestores import encode, make_header, make_plan, tree, write_store

from wsiseg.errors import OutputError, StoreFormatError
from wsiseg.tilestore import StoreWriter, TileStore, partial_path


def test_same_tiles_same_bytes(tmp_path, pixels):
    plan = make_plan(make_header(), 150)
    first, second = (write_store(tmp_path / name / "a.zarr", plan, *pixels) for name in "xy")
    assert tree(first) == tree(second)
    assert list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize("shards", [0, 1, 2, 3])
def test_an_interrupted_store_goes_on_and_ends_the_same(tmp_path, pixels, shards):
    plan = make_plan(make_header(), 150)
    whole = write_store(tmp_path / "x/a.zarr", plan, *pixels, unreadable={70})
    target = write_store(tmp_path / "y/a.zarr", plan, *pixels, unreadable={70}, shards=shards)
    if shards < 3:
        with pytest.raises(StoreFormatError):
            TileStore.open(target)
        left = [shard for shard, _ in StoreWriter.begin(target, plan).pending()]
        assert left == list(range(shards, 3))
    write_store(target, plan, *pixels, unreadable={70})
    assert tree(target) == tree(whole)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("damage", ["cut line", "half a shard", "half a file of zarr", "no key"])
def test_what_a_kill_can_leave_is_made_good(tmp_path, pixels, damage):
    plan = make_plan(make_header(), 150)
    whole = write_store(tmp_path / "x/a.zarr", plan, *pixels)
    target = write_store(tmp_path / "y/a.zarr", plan, *pixels, shards=2)
    partial = partial_path(target)
    if damage == "cut line":
        journal = partial / "journal.jsonl"
        journal.write_text(journal.read_text()[:-40])
        assert [shard for shard, _ in StoreWriter.begin(target, plan).pending()] == [1, 2]
    elif damage == "half a shard":
        shard = partial / "store/images/c/2/0/0/0"
        shard.parent.mkdir(parents=True)
        shard.write_bytes(b"half")
    elif damage == "half a file of zarr":
        # As zarr names a file that it has not renamed yet.
        (partial / "store/zarr.51e9b170b4534204b74e798b49bca59a.partial").write_bytes(b"half")
    else:
        (partial / "key").unlink()
        assert [shard for shard, _ in StoreWriter.begin(target, plan).pending()] == [0, 1, 2]
    write_store(target, plan, *pixels)
    assert tree(target) == tree(whole)


def test_another_key_begins_anew(tmp_path, pixels):
    target = write_store(tmp_path / "a.zarr", make_plan(make_header("old"), 150), *pixels, shards=2)
    writer = StoreWriter.begin(target, make_plan(make_header("new"), 150))
    assert len(list(writer.pending())) == 3


def test_an_older_store_is_replaced_only_at_the_end(tmp_path, pixels):
    images, labels = pixels
    target = write_store(tmp_path / "a.zarr", make_plan(make_header("old"), 20), images[:20], labels[:20])
    write_store(target, make_plan(make_header("new"), 150), images, labels, shards=2)
    assert len(TileStore.open(target)) == 20
    write_store(target, make_plan(make_header("new"), 150), images, labels)
    assert len(TileStore.open(target)) == 150
    assert list(tmp_path.iterdir()) == [target]


def test_labels_anew_with_the_images_of_another_store(tmp_path, pixels):
    images, labels = pixels
    other = np.roll(labels, 1, axis=0)
    target = write_store(tmp_path / "x/a.zarr", make_plan(make_header("old"), 150), images, labels)
    plan = make_plan(make_header("new"), 150)
    writer = StoreWriter.begin(target, plan, images_from=target)
    assert writer.has_images
    for shard, positions in list(writer.pending()):
        writer.write(shard, [encode(images, other, i) for i in positions])
    writer.publish()
    assert tree(target) == tree(write_store(tmp_path / "y/a.zarr", plan, images, other))


def test_a_full_disk_is_an_output_error(tmp_path, pixels, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wsiseg.tilestore.shard._write_all", full)
    with pytest.raises(OutputError, match=r"No space left on device.*Free some space"):
        write_store(tmp_path / "a.zarr", make_plan(make_header(), 150), *pixels)


def test_a_folder_that_is_a_file(tmp_path, pixels):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_store(tmp_path / "file" / "a.zarr", make_plan(make_header(), 150), *pixels)

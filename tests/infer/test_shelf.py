"""Arrays on disk and back."""

import numpy as np
import pytest

from wsiseg.errors import OutputError
from wsiseg.infer.shelf import Shelf


def test_what_is_put_is_taken_and_the_folder_stays_empty(tmp_path):
    shelf = Shelf((3, 4, 5), tmp_path)
    rng = np.random.default_rng(0)
    arrays = {number: rng.random((3, 4, 5), dtype=np.float32) for number in (7, 0, 3)}
    for number, array in arrays.items():
        shelf.put(number, array)
    shelf.put(0, wide := rng.random((3, 8, 5), dtype=np.float32)[:, ::2])
    assert np.array_equal(shelf.take(7), arrays[7])
    assert np.array_equal(shelf.take(3), arrays[3])
    assert np.array_equal(shelf.take(0), wide)
    assert not list(tmp_path.iterdir())
    shelf.close()


def test_what_was_never_put_is_zero(tmp_path):
    shelf = Shelf((2, 2), tmp_path)
    shelf.put(5, np.ones((2, 2), np.float32))
    assert not shelf.take(1).any()
    assert not shelf.take(9).any()
    shelf.close()


def test_arrays_without_a_value_need_no_space(tmp_path):
    shelf = Shelf((4, 0, 16), tmp_path)
    shelf.put(0, np.zeros((4, 0, 16), np.float32))
    assert shelf.take(0).shape == (4, 0, 16)
    shelf.close()


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        Shelf((1,), tmp_path / "file")

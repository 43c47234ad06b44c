"""Files are whole, or they are not there."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from tlab_diffusion.evaluation.pictures import kept
from tlab_diffusion.files import atomic_write


def test_a_file_gets_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "folder" / "file.txt"
    with atomic_write(path) as draft:
        draft.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as draft:
        draft.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"


def test_two_that_miss_the_same_file_take_turns(tmp_path):
    begun, go_on, computed = Event(), Event(), []

    def compute() -> np.ndarray:
        computed.append(1)
        begun.set()
        assert go_on.wait(60)
        return np.arange(3)

    with ThreadPoolExecutor(2) as workers:
        first = workers.submit(kept, tmp_path / "x.npy", compute)
        assert begun.wait(60)
        second = workers.submit(kept, tmp_path / "x.npy", compute)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.5)
        go_on.set()
        assert first.result().tolist() == second.result().tolist() == [0, 1, 2]
    assert computed == [1]

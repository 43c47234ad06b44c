"""Files are whole, or they are not there."""

import pytest

from tlab_diffusion.files import whole


def test_a_file_gets_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "folder" / "file.txt"
    with whole(path) as draft:
        draft.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole(path) as draft:
        draft.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"

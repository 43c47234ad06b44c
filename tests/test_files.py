"""Files are whole, or they are not there."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from tlab_diffusion.dreambooth.checkpoint.export import copy_pipeline
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.pictures import kept
from tlab_diffusion.files import as_input_error, atomic_write, cache_folder, check_writable
from tlab_diffusion.training import checkpoints


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
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.fixture
def calls(monkeypatch):
    """What is synced and renamed, in order, by name; a synced file with its size."""
    calls, fsync, replace = [], os.fsync, os.replace

    def noted_fsync(number):
        path = Path(f"/proc/self/fd/{number}").readlink()
        calls.append(("sync", path.name, 0 if path.is_dir() else path.stat().st_size))
        fsync(number)

    def noted_replace(source, target):
        calls.append(("rename", Path(source).name, Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return calls


def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(tmp_path, calls):
    with atomic_write(tmp_path / "folder/file.txt") as draft:
        draft.write_text("new")
    assert calls == [
        ("sync", "file.draft", 3),
        ("rename", "file.draft", "file.txt"),
        ("sync", "folder", 0),
    ]


def test_a_pipeline_is_synced_before_its_index_comes(tmp_path, calls):
    source, folder = tmp_path / "source", tmp_path / "folder"
    for name in ("model_index.json", "unet/config.json", "unet/weights"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    for _ in range(2):  # into an empty folder, then over what lies there
        folder.mkdir(exist_ok=True)
        calls.clear()
        copy_pipeline(source, folder)
        renamed = [call[2] for call in calls if call[0] == "rename"]
        assert renamed == ["unet", "model_index.json"]
        part, index = (calls.index(("rename", name, name)) for name in renamed)
        synced = [call[1] for call in calls[:part] if call[0] == "sync"]
        assert synced[0] == "folder" and {"unet", "config.json", "weights"} <= set(synced)
        assert ("sync", "model_index.json", 16) in calls[part:index]
        assert calls[part + 1][1] == calls[-1][1] == "folder"
        assert sorted(p.name for p in folder.rglob("*")) == sorted(
            p.name for p in source.rglob("*")
        )


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_decides_who_reads_a_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        checkpoints.save(tmp_path / "a.safetensors", {"x": torch.zeros(1)})
        (tmp_path / "draft").mkdir()
        save_file({"x": torch.zeros(1)}, tmp_path / "draft/model.safetensors")
        (tmp_path / "draft/model_index.json").write_text("{}")
        copy_pipeline(tmp_path / "draft", tmp_path / "folder")
    finally:
        os.umask(before)
    for name in ("a.safetensors", "folder/model.safetensors", "folder/model_index.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free space there. Make room"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "Make room"),
        (PermissionError(errno.EACCES, "Permission denied"), "that you can write to. Choose"),
        (OSError(errno.EROFS, "Read-only file system"), "that you can write to. Choose"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "that you can write to. Choose"),
    ],
)
@pytest.mark.parametrize(
    ("name", "way_out"), [("cache", "TLAB_CACHE=FOLDER"), ("output", "--resume")]
)
def test_a_write_that_fails_says_why_and_what_to_do(tmp_path, error, words, name, way_out):
    with pytest.raises(InputError) as caught, as_input_error(tmp_path, name):
        raise error
    said = str(caught.value)
    assert said.startswith(f"{name}: got a file in {tmp_path} that could not be written")
    assert str(error) in said and words in said and way_out in said
    assert "checkpoint" not in said and "\n" not in said


def test_a_variable_moves_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLAB_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TLAB_CACHE")
    assert cache_folder().name == "tlab_diffusion"


def test_a_folder_that_cannot_be_written_is_found_before_it_is_needed(tmp_path, monkeypatch):
    check_writable(tmp_path / "new/folder", "cache")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cache: .*file is a file"):
        check_writable(tmp_path / "file/folder", "cache")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="read-only.*TLAB_CACHE"):
        check_writable(tmp_path / "new", "cache")


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

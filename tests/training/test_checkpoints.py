"""What a run saves is whole, or is not there."""

import pytest
import torch

from tlab_diffusion.errors import InputError
from tlab_diffusion.training import checkpoints


def test_a_damaged_or_missing_checkpoint_is_one_clear_line(tmp_path):
    path = tmp_path / "state.safetensors"
    with pytest.raises(InputError, match="no file"):
        checkpoints.load(path)
    checkpoints.save(path, {"x": torch.ones(300)})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read.*Delete it"):
        checkpoints.load(path)


def test_what_was_read_does_not_hang_on_the_file(tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoints.save(path, {"x": torch.ones(300)})
    state = checkpoints.load(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(state["x"], torch.ones(300))


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    checkpoints.save(path, {"x": torch.ones(3)})

    def killed(tensors, draft, about):
        draft.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, {"x": torch.zeros(3)})
    assert torch.equal(checkpoints.load(path)["x"], torch.ones(3))


def test_only_a_rename_touches_the_old_checkpoint(tmp_path, monkeypatch):
    # A rename is one step for the file system, so a kill comes before it or after it.
    path = tmp_path / "state.safetensors"
    checkpoints.save(path, {"x": torch.ones(3)})

    def killed(draft, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, {"x": torch.zeros(3)})
    assert torch.equal(checkpoints.load(path)["x"], torch.ones(3))

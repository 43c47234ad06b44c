"""A run on a device without float64, such as an Apple GPU."""

import pytest
from accelerate import PartialState

from tests.dreambooth.tiny import PICTURES, new_config
from tests.no_float64 import no_float64
from tlab_diffusion.dreambooth.training.trainer import Finished, PriorImages, train


@pytest.mark.parametrize("changes", [{"ema_decay": 0.5}, {"snr_gamma": 5.0, "method": "lora"}])
def test_a_whole_run(tmp_path, monkeypatch, changes):
    config = new_config(tmp_path / "out", max_steps=1, **changes)
    PartialState()
    with no_float64() as device:
        monkeypatch.setitem(PartialState._shared_state, "device", device)
        events = list(train(config, PICTURES, cache=tmp_path / "cache"))
        assert events[-1].pipeline.unet.conv_in.weight.device == device
    assert PriorImages(4, 4) in events and isinstance(events[-1], Finished)

"""The moving average of the weights is the formula."""

import torch

from tlab_diffusion.training import ema


def test_ema_by_hand_and_in_the_long_run():
    average, params = [torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 6.0])]
    torch.testing.assert_close(ema.ema_update(average, params, 0.75)[0], torch.tensor([1.5, 3.0]))
    assert average[0].tolist() == [1.0, 2.0]
    for _ in range(200):
        average = ema.ema_update(average, params, 0.9)
    torch.testing.assert_close(average[0], params[0])

"""Many pictures at once: the same ones whatever draws them."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import (
    PicturebookDataset,
    caption,
    dataset,
    draw_caption,
    draw_scenes,
    random_scene,
    render,
)


def test_pictures_do_not_depend_on_the_number_of_processes(monkeypatch):
    monkeypatch.setattr(dataset, "CHUNK", 1)  # many small jobs, which end in any order
    seeds = range(100, 180)
    alone = draw_scenes(seeds, size=32, processes=1, progress=False)
    together = draw_scenes(seeds, size=32, processes=2, progress=False)
    assert alone.shape == (80, 32, 32, 3) and alone.dtype == np.uint8
    assert np.array_equal(alone, together)
    assert np.array_equal(alone[7], render(random_scene(107), 32))


def test_the_bar_shows_a_rate_and_an_estimate(capsys):
    draw_scenes(range(3), size=16, processes=1)
    assert "scene/s" in capsys.readouterr().err


def test_a_data_set_is_a_function_of_seed_and_index():
    pictures = PicturebookDataset(length=50, seed=7)
    image, text = pictures[12]
    again, same = PicturebookDataset(length=20, seed=7)[12]
    other, _ = PicturebookDataset(length=50, seed=8)[12]
    assert torch.equal(image, again) and text == same
    assert not torch.equal(image, other)
    assert image.shape == (3, 64, 64) and image.dtype == torch.float32
    assert image.min() >= -1 and image.max() <= 1 and image.max() > 0.5 and image.min() < -0.5
    seed = pictures.scene_seed(12)
    assert text == caption(random_scene(seed), seed=seed)


def test_a_data_set_feeds_a_data_loader():
    loader = torch.utils.data.DataLoader(PicturebookDataset(6), batch_size=3)
    images, captions = next(iter(loader))
    assert images.shape == (3, 3, 64, 64) and len(captions) == 3
    assert len(list(PicturebookDataset(3))) == 3


def test_a_caption_can_be_drawn_several_times():
    pictures = draw_caption("a red robot in the snow", size=32, seed=4, num=3)
    assert [picture.shape for picture in pictures] == [(32, 32, 3)] * 3
    assert not np.array_equal(pictures[0], pictures[1])


def test_importing_the_world_is_light():
    code = (
        "import sys, tlab_diffusion.picturebook; "
        "print({'torch', 'resvg_py', 'PIL', 'tqdm', 'multiprocessing'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "call",
    [
        lambda: draw_scenes([1], size=0),
        lambda: draw_scenes([-1]),
        lambda: draw_scenes(["a"]),
        lambda: draw_scenes([1], processes=0),
        lambda: PicturebookDataset(0),
        lambda: PicturebookDataset(3, seed=-1),
        lambda: draw_caption("", 64, 0, 1),
        lambda: draw_caption("a cat", 64, 0, 0),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError):
        call()

"""The training view from the kernel: it trains as the mathematics does, and can be stopped."""

import asyncio
import io

import numpy as np
import pytest
import torch
from PIL import Image

from tlab_diffusion.course import toy_data
from tlab_diffusion.course.live_view import running_mean
from tlab_diffusion.course.widgets import training, training_view
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots.training_panels import mosaic
from tlab_diffusion.training.loop import train


@pytest.fixture
def view():
    widget = training_view()
    widget.controls["steps"].min = 10
    widget.controls["steps"].value = 40
    return widget


@pytest.fixture(scope="module")
def untouched():
    """A view for tests that neither train nor move its controls."""
    return training_view()


@pytest.fixture
def tiny_cats(monkeypatch):
    """The task of the cats with eight of them, and a network of one rung."""
    few = training.cats_task()._replace(
        data=toy_data.pixel_cats(8, 8), network=lambda: training.UNet(3, (8, 8)), shown=4, every=2
    )
    monkeypatch.setitem(training.TASKS, "cats", lambda: few)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


# --- what is trained


def test_the_frames_are_the_training_of_the_mathematics():
    task = training.smile_task()
    *_, frame = training.frames(task, 30, 2e-3, 0.9, seed=3)
    torch.manual_seed(3)
    network, generator = task.network(), torch.Generator().manual_seed(3)
    draw = [0, len(task.data), (task.batch_size,)]
    batches = (task.data[torch.randint(*draw, generator=generator)] for _ in range(30))
    options = {"learning_rate": 2e-3, "ema_decay": 0.9, "generator": generator}
    *_, last = list(train(network, batches, task.alphas_cumprod, **options))
    assert len(frame.losses) == 30
    assert frame.losses[-1] == last.loss
    torch.testing.assert_close(frame.samples, training.sample(task, last.ema_model))


def test_frames_come_at_regular_steps_and_at_the_end():
    task = training.smile_task()._replace(every=20)
    assert [len(f.losses) for f in training.frames(task, 50, 2e-3, 0.9)] == [20, 40, 50]


def test_training_leaves_the_learners_random_state_alone():
    before = torch.get_rng_state()
    list(training.frames(training.smile_task(), 2, 2e-3, 0.9))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_smile_can_be_learned():
    """Its loss comes most of the way from 1, saying nothing, to that of the exact denoiser."""
    task = training.smile_task()
    *_, frame = training.frames(task, 300, 2e-3, 0.98)
    least, reached = task.least, running_mean(frame.losses)[-1]
    assert least - 0.02 < reached < least + 0.1 * (1 - least)


def test_the_smile_is_a_mixture_about_as_wide_as_noise():
    mixture = toy_data.smile()
    assert isinstance(mixture, GaussianMixture)
    spread = mixture.sample(4000, torch.Generator().manual_seed(0)).std(dim=0)
    assert ((spread > 0.8) & (spread < 1.2)).all()


def test_cats_are_pictures_in_the_range_of_a_model():
    few, more = toy_data.pixel_cats(2), toy_data.pixel_cats(3)
    assert more.shape == (3, 3, 16, 16)
    assert few.dtype == torch.float32
    assert -1 <= more.min() < -0.5 and 0.5 < more.max() <= 1
    torch.testing.assert_close(more[:2], few)


def test_each_cat_comes_with_the_word_for_its_colour():
    words, cats = toy_data.cat_colours(60), toy_data.pixel_cats(60)
    assert words[:5] == toy_data.cat_colours(5)
    means = {
        word: cats[[other == word for other in words], :, 4:12, 4:12].mean(dim=(0, 2, 3))
        for word in ("blue", "orange")
    }
    assert means["blue"].argmax() == 2  # of red, green and blue
    assert means["orange"].argmax() == 0


# --- the widget


def test_it_starts_with_nothing_trained(view):
    assert "Nothing is trained yet" in view.words.value
    assert view.button.description == training.TRAIN


def test_without_a_loop_to_share_it_trains_to_the_end(view):
    before = view.image.value
    view.button.value = True
    assert "Step 40 of 40" in view.words.value
    assert view.image.value != before
    assert not view.button.value
    assert view.button.description == training.TRAIN


def test_in_a_notebook_it_trains_little_by_little_and_can_be_stopped(view):
    view.controls["steps"].value = 2000

    async def click_and_stop():
        view.button.value = True
        assert "Nothing is trained yet" in view.words.value  # the click itself does not wait
        while "Step 40 of" not in view.words.value:
            await asyncio.sleep(0)
        assert view.button.description == training.STOP
        view.button.value = False
        stopped = view.words.value
        await view._job
        assert view.words.value == stopped

    asyncio.run(asyncio.wait_for(click_and_stop(), 60))


def test_a_second_training_does_not_mix_with_a_stopped_one(view):
    async def stop_and_start():
        view.button.value = True
        await asyncio.sleep(0)
        first = view._job
        view.button.value = False
        view.button.value = True
        await asyncio.gather(first, view._job)

    asyncio.run(asyncio.wait_for(stop_and_start(), 60))
    assert "Step 40 of 40" in view.words.value
    assert not view.button.value


def test_a_cell_that_is_run_again_stops_the_training_that_has_lost_its_button(view):
    async def run_the_cell_again():
        view.button.value = True
        await asyncio.sleep(0)
        training_view()
        assert not view.button.value
        await view._job

    asyncio.run(asyncio.wait_for(run_the_cell_again(), 60))
    assert len(view._frame.losses) < view.settings["steps"]


@pytest.mark.parametrize("setting", ["learning_rate", "ema_decay", "steps", "data"])
def test_another_setting_stops_and_starts_afresh(view, tiny_cats, setting):
    view.button.value = True
    before = view.words.value
    values = {"learning_rate": 0.01, "ema_decay": 0.0, "steps": 100, "data": "cats"}
    view.controls[setting].value = values[setting]
    assert "Nothing is trained yet" in view.words.value
    assert view.words.value != before
    assert not view.button.value


def test_a_loss_that_explodes_is_told_in_words(view, monkeypatch):
    def fail(*arguments):
        raise InputError("loss", got="nan at step 7", expected="a finite number")
        yield

    monkeypatch.setattr(training, "frames", fail)
    view.button.value = True
    assert "It stopped." in view.words.value
    assert "nan at step 7" in view.words.value
    assert not view.button.value


def test_pictures_train_in_the_same_view(view, tiny_cats):
    view.controls["data"].value = "cats"
    view.controls["steps"].value = 10
    view.button.value = True
    assert "Step 10 of 10" in view.words.value
    assert "exact" not in view.words.value


# --- two faces


def test_the_still_picture_is_what_the_live_one_ends_with(view):
    view.button.value = True
    live, words = pixels(view.image.value), view.words.value
    picture = view.picture()
    figure, whole = picture.figure, io.BytesIO()
    figure.savefig(whole, format="png", dpi=figure.dpi, facecolor="white")
    off = np.abs(live.astype(int) - pixels(whole.getvalue()))
    assert off.max() <= 8  # a line that is blitted meets a tick of the axis in another order
    assert (off > 0).mean() < 1e-4
    assert "Step 40 of 40" in picture.title
    assert view.words.value == words


def test_the_still_picture_has_its_text(view):
    data = view.still()
    assert data["text/plain"] == "<TrainingWidget: A network in training>"
    assert "Step 40 of 40" in data["text/html"]
    assert "Nothing is trained yet" in view.words.value


def test_browser_tests_find_the_parts(view):
    assert "training-view-picture" in view.image._dom_classes
    assert "training-view-steps" in view.controls["steps"]._dom_classes
    assert "training-view-run" in view.button._dom_classes


@pytest.mark.parametrize(
    "settings",
    [{"data": "dogs"}, {"steps": 0}, {"steps": 2.5}, {"learning_rate": 0}, {"speed": 3}],
)
def test_a_still_picture_of_nothing_is_refused(untouched, settings):
    with pytest.raises(InputError, match="expected"):
        untouched.picture(**settings)


def test_a_mosaic_keeps_every_picture_whole():
    five = np.arange(5 * 4 * 4 * 3, dtype=np.uint8).reshape(5, 4, 4, 3)
    whole = mosaic(five)
    assert whole.shape == (14, 14, 3)
    np.testing.assert_array_equal(whole[:4, :4], five[0])
    np.testing.assert_array_equal(whole[5:9, 5:9], five[4])
    assert (whole[10:] == 255).all()

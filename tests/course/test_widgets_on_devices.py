"""The widgets that draw pictures run on a device without float64, such as an Apple GPU."""

import pytest

from tests.no_float64 import no_float64
from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.course.widgets.attention import attention_film
from tlab_diffusion.course.widgets.guidance import guided_pictures
from tlab_diffusion.course.widgets.walk import draw_walks

DRAWN = {
    "walk": lambda pipeline: draw_walks(pipeline, num_frames=2, num_inference_steps=2).pictures,
    "guidance": lambda pipeline: guided_pictures(pipeline, "a cat", (1, 4), num_inference_steps=2),
    "attention": lambda pipeline: {
        "film": attention_film(pipeline, "a cat", num_inference_steps=2).pictures
    },
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_no_float64_is_needed(draw):
    expected = draw(tiny_pipeline())
    with no_float64() as device:
        got = draw(tiny_pipeline().to(device))
    for name, pictures in expected.items():
        assert abs(got[name].astype(int) - pictures).max() <= 1

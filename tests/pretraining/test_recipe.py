"""The recipe is one file, and says what is wrong with another."""

import pytest

from tlab_diffusion.errors import InputError
from tlab_diffusion.pretraining.recipe import SHIPPED, load_recipe

TEXT = SHIPPED.read_text()


def test_the_shipped_recipe_is_read():
    recipe = load_recipe()
    assert recipe.vae.channels == (32, 64, 128)
    assert recipe.unet.caption_dropout == 0.1
    assert all(stage.save_every_s <= 300 for stage in vars(recipe).values())


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("caption_dropout = 0.1", "caption_drop = 0.1", r"\[unet\].*unknown 'caption_drop'"),
        ("caption_dropout = 0.1", "", r"\[unet\].*no 'caption_dropout'"),
        ("caption_dropout = 0.1", "caption_dropout = 'some'", "unet.caption_dropout.*a number"),
        ("batch_size = 8 ", "batch_size = 8.5 ", "vae.batch_size.*an integer"),
        ("batch_size = 8 ", "batch_size = 0 ", "vae.batch_size.*an integer, not below 1"),
        ("measure_every = 1000", "measure_every = 0", "vae.measure_every.*not below 1"),
        (
            "learning_rate = 2e-3\nwarm_up_steps = 200",
            "learning_rate = nan\nwarm_up_steps = 200",
            "a number",
        ),
        (
            "middle_share = 0.25",
            "middle_share = 1.5",
            "unet.middle_share.*not below 0, not above 1",
        ),
        ("channels = [32, 64, 128]", "channels = 16", "vae.channels.*a list of integers"),
        ("[vae]", "[vea]", "unknown 'vea'"),
        ("[vae]", "[vae", "a TOML file"),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(tmp_path, old, new, line):
    assert old in TEXT
    (tmp_path / "recipe.toml").write_text(TEXT.replace(old, new, 1))
    with pytest.raises(InputError, match=line) as error:
        load_recipe(tmp_path / "recipe.toml")
    assert "\n" not in str(error.value).split("\n(")[0]


def test_no_recipe(tmp_path):
    with pytest.raises(InputError, match="no file"):
        load_recipe(tmp_path / "recipe.toml")

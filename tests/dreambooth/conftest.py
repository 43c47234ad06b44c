"""What several tests of subject fine-tuning need."""

import pytest
from PIL import Image

from tlab_diffusion.picturebook import subject_pictures


@pytest.fixture
def pictures(tmp_path):
    """A folder with three pictures of Pip."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(subject_pictures("pip", size=64)[:3]):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder

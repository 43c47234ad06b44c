"""Pictures of the paper's experiments, from the stored results."""

import pytest

from tlab_diffusion.course.paper_pictures import drawn_by, effects_figure
from tlab_diffusion.course.paper_tables import table_3
from tlab_diffusion.course.stored import load_sheet, load_tables


@pytest.mark.parametrize("last", [None, 2])
def test_each_picture_stands_under_its_method_and_caption(last):
    sheet = load_sheet()
    figure = drawn_by(sheet, ["original", "lora"], "T", last=last).figure
    texts = sheet.captions["pip"][-last if last else 0 :]
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 2 * len(texts)
    assert sum(title.startswith("LoRA:") for title in titles) == len(texts)


def test_every_difference_of_a_table_has_a_row():
    table = table_3(load_tables())
    labels = [label.get_text() for label in effects_figure(table).figure.axes[0].get_yticklabels()]
    assert len(labels) == len(table.effects)
    assert labels[0].endswith("PRES (paper: lower)")

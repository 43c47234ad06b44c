"""Logs and grids of earlier versions are read with the names of this one."""

import json

from tests.course.grids import new_grid
from tests.dreambooth.standin import point
from tlab_diffusion.dreambooth.grid.result import Grid
from tlab_diffusion.dreambooth.report.log import RunLog
from tlab_diffusion.evaluation.result import Metrics


def old(content):
    """JSON text with the keys of earlier versions."""
    text = json.dumps(content)
    for new, earlier in {
        "metrics": "measures",
        "encoders": "judges",
        "prompt_accuracy": "obeyed",
    }.items():
        text = text.replace(f'"{new}":', f'"{earlier}":')
    return text


def test_metrics():
    metrics = point(1, identity=0.5, prompt_accuracy=0.8).metrics
    assert '"obeyed"' in old(metrics.as_dict())
    assert Metrics.from_dict(json.loads(old(metrics.as_dict()))) == metrics


def test_a_log(tmp_path):
    points = [point(step, identity=0.5, prompt_accuracy=0.8) for step in (0, 10)]
    log = RunLog(tmp_path)
    for each in points:
        log.add_metrics(*each, "the course's own")
    lines = [old(json.loads(line)) + "\n" for line in log.file.read_text().splitlines()]
    assert all('"measures"' in line and '"judges"' in line for line in lines)
    log.file.write_text("".join(lines))
    assert RunLog(tmp_path).points() == points
    assert RunLog(tmp_path).encoders == "the course's own"


def test_a_grid():
    grid = new_grid()
    text = old(grid.as_dict())
    assert '"measures"' in text and '"judges"' in text
    assert Grid.from_dict(json.loads(text)) == grid

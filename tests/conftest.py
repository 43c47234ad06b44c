"""What every test runs with, and every kernel that a test starts."""

import os
import tempfile

import pytest

_scratch = tempfile.TemporaryDirectory(prefix="tlab-tests-")

# The learner's own progress stays as it is.
os.environ["TLAB_PROGRESS"] = f"{_scratch.name}/progress.jsonl"
# Tests run side by side; one thread each is faster, and repeats a sum to its last digit.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Undo the random order for notebooks, and put them first, as the command line lists them.

    A cell needs the cells before it; and a long notebook that starts last keeps one worker busy
    while the others have nothing left to do.
    """
    cells = [item for item in items if hasattr(item, "cell_num")]
    listed = {str(config.invocation_params.dir / name): i for i, name in enumerate(config.args)}
    cells.sort(key=lambda item: (listed.get(str(item.path), 0), str(item.path), item.cell_num))
    browser = [item for item in items if item.get_closest_marker("browser")]
    rest = [item for item in items if item not in {*cells, *browser}]
    items[:] = cells + browser + rest

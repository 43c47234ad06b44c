"""The order of tests and notebooks."""

import pytest


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

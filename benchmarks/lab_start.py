"""Start time: from `tlab lab` to the first lesson with an idle kernel.

    python -m benchmarks.lab_start

prints the seconds until the page is drawn and until its kernel is idle.
"""

import tempfile
import time
from pathlib import Path

from tests.browser.browsers import find_browser
from tests.browser.jupyter import browser_page, jupyterlab, open_lesson


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, browser_page(find_browser()) as page:
        began = time.perf_counter()
        with jupyterlab(Path(scratch) / "course") as address:
            print(f"the server answers after {time.perf_counter() - began:.1f} s")
            open_lesson(page, address, "00_start_here.ipynb")
            print(f"lesson 00 is usable after {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()

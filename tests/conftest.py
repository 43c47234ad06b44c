"""What every test runs with, and every kernel that a test starts."""

import os
import tempfile

_scratch = tempfile.TemporaryDirectory(prefix="tlab-tests-")

# The learner's own progress stays as it is.
os.environ["TLAB_PROGRESS"] = f"{_scratch.name}/progress.jsonl"
# Tests run side by side; one thread each is faster, and repeats a sum to its last digit.
os.environ["OMP_NUM_THREADS"] = "1"

"""What fits: on the disk of a run that goes on, and into the parts of a step."""

from types import SimpleNamespace

import pytest

from tests.dreambooth.tiny import model_folder, new_config
from tlab_diffusion.dreambooth.preflight import resources
from tlab_diffusion.errors import InputError
from tlab_diffusion.training import hardware


def test_what_an_earlier_run_has_written_counts_as_free(tmp_path, monkeypatch):
    config = new_config(tmp_path / "out")
    monkeypatch.setattr(hardware, "measured_speed", lambda device, dtype: 1e9)
    needed = resources.estimate(config, model_folder(), "fp32", 32).disk
    little = SimpleNamespace(free=needed - 1000)
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda path: little)
    found = resources.estimate(config, model_folder(), "fp32", 32)
    (problem,) = found.problems
    assert problem.name == "output"
    (config.output / "checkpoints").mkdir(parents=True)
    (config.output / "checkpoints/step-00000002.safetensors").write_bytes(bytes(1000))
    # Somebody else's files, as long as no run has left its record.
    assert resources.estimate(config, model_folder(), "fp32", 32).free_disk == needed - 1000
    (config.output / "run.json").touch()
    found = resources.estimate(config, model_folder(), "fp32", 32)
    assert found.free_disk == needed and not found.problems


@pytest.mark.parametrize(("samples", "processes", "most"), [(4, 3, 1), (4, 2, 2), (8, 2, 4)])
def test_every_process_has_a_sample_in_every_part(samples, processes, most):
    budget, free = resources.MemoryBudget({}, learned=0), 1000
    forward = resources.ForwardCost(flops=0, activation_bytes=800)  # one sample at a time
    parts = resources.fewest_parts(budget, forward, samples, free, processes=processes)
    alone = resources.samples_at_once(samples, most, processes)
    assert parts == (most if alone == 1 else None)


def test_more_processes_than_samples_are_refused_before_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "PartialState", lambda: SimpleNamespace(num_processes=5))
    with pytest.raises(InputError, match="batch_size: got 4 samples in a step, expected 5"):
        resources.estimate(new_config(tmp_path / "out"), model_folder(), "fp32", 32)

"""`tlab grid`, from a folder of pictures to a folder with a map."""

import itertools
import json
from multiprocessing import get_context

import pytest
from diffusers import DiffusionPipeline

from tests.dreambooth.grid.grids import COUNTS, events_of, stand_ins
from tests.dreambooth.tiny import model_folder, new_config
from tlab_diffusion.cli import main
from tlab_diffusion.dreambooth.grid import search as grid_search
from tlab_diffusion.dreambooth.grid.search import _gpus, _work, preflight_grid
from tlab_diffusion.dreambooth.grid.store import GridStore
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.measure import SampleCounts


@pytest.fixture
def run(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(SampleCounts.__init__, "__defaults__", (1, 8, 32, 0))  # few pictures

    def run(*options, rates="1e-3,1e-4", steps="1,2"):
        names = ["--identifier", "zwx", "--class-noun", "robot", "--model", f"{model_folder()}"]
        folders = ["--subject-images", f"{pictures}", "--output", f"{tmp_path / 'grid'}"]
        few = ["--num-class-images", "2", "--num", "1"]
        values = ["--learning-rates", rates, "--steps", steps]
        return main(["grid", *folders, *names, *few, *values, *options])

    return run


def test_two_workers_fill_a_grid_and_a_third_has_nothing_to_do(run, tmp_path, capfd):
    assert run("--workers", "2", steps="1") == 0
    said = capfd.readouterr()
    assert "grid: 2 trials by 2 trainings of 1 steps" in said.out
    assert "| 2/2 trials at " in said.err and " s left" in said.err.replace("/s", "")
    lines = said.out.splitlines()
    assert lines[-1] == str(tmp_path / "grid")
    assert len([line for line in lines if ": score " in line]) == 2
    assert (tmp_path / "grid/table.md").read_text().strip() in said.out
    left = {path.name for path in (tmp_path / "grid").iterdir()}
    assert left == {
        *("grid.json", "table.md", "heat_map.png", "pictures.png"),
        *("pictures", "best", "locks"),
    }
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "grid/best")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a zwx robot", num_inference_steps=1, output_type="np").images.std() > 0
    before = (tmp_path / "grid/grid.json").read_bytes()
    assert run("--resume", steps="1") == 0
    assert (tmp_path / "grid/grid.json").read_bytes() == before


def test_the_reason_why_all_workers_ended_early_is_one_line(tmp_path, monkeypatch, capfd):
    """Here each finds other weights than those before. Forked, workers keep the fake trainer."""
    monkeypatch.setattr(grid_search, "get_context", lambda _: get_context("fork"))
    folder = tmp_path / "grid"
    with stand_ins(fake=True):
        list(events_of(folder, tmp_path, steps=[1]))
        content = json.loads((folder / "grid.json").read_text())
        content["settings"]["weights"] = "others"
        (folder / "grid.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="weights: got 'weights', expected 'others'"):
            list(events_of(folder, tmp_path, steps=[1, 2], workers=2, resume=True))


def test_one_bar_covers_all_trainings(run, capfd):
    with stand_ins(fake=True):
        assert run() == 0
    said = capfd.readouterr()
    for phase in ("loading", "class pictures", "training", "measuring"):
        assert f"{phase}: " in said.err
    assert "4/4 steps" in said.err, "two trainings of two steps"
    # Each of four trials and the original: ten prompts, eight of the class, and a strip of four.
    assert "110/110 pictures" in said.err
    assert "1 of 4 trials, learning rate 1e-4" in said.err
    assert len([line for line in said.out.splitlines() if ": score " in line]) == 4


def test_the_estimate_covers_all_that_is_missing(pictures, tmp_path, monkeypatch):
    store = GridStore(tmp_path / "grid")

    def work(rates, steps, workers=1):
        return _work(store, rates, steps, COUNTS, workers)

    monkeypatch.setattr(grid_search, "_gpus", lambda: [])
    two = work([1e-4, 1e-3], [2, 5])
    assert (two.steps, two.pictures, two.class_images) == (10, 5 * 22, True)
    assert (two.checkpoints, two.folders, two.devices) == (2, 2, 1), "one after the other"
    both = work([1e-4, 1e-3], [2, 5], workers=3)
    assert (both.steps, both.checkpoints, both.devices) == (10, 4, 1), "on one device"
    monkeypatch.setattr(grid_search, "_gpus", lambda: ["0", "1"])
    assert work([1e-4, 1e-3], [2, 5], workers=2).devices == 2
    config = new_config(store.path, subject_images=pictures, identifier="zwx")
    values = {"learning_rates": [1e-4, 1e-3], "steps": [2, 5], "counts": COUNTS}
    assert preflight_grid(config, **values).estimate.pictures == two.pictures
    with stand_ins(fake=True):  # and until the first training has taken four steps more
        list(events_of(store.path, tmp_path, learning_rates=[1e-4, 1e-3], steps=[2]))
        events = events_of(store.path, tmp_path, resume=True, **values)
        list(itertools.takewhile(lambda event: getattr(event, "step", 0) < 4, events))
        events.close()
    left = work([1e-4, 1e-3], [2, 5])
    assert (left.steps, left.pictures, left.class_images) == (1 + 5, 2 * 22, False)
    assert left.written > 0


@pytest.mark.parametrize(
    "options, said",
    [
        ({"rates": ""}, "--learning-rates: got '', expected numbers, with commas"),
        ({"rates": "1e-4,much"}, "--learning-rates: got '1e-4,much'"),
        ({"rates": "1e-4,-1"}, "learning_rates: got -1.0, expected a number above 0"),
        ({"rates": "1e-4,0.0001"}, "learning_rates: got 0.0001 twice"),
        ({"steps": "1,0"}, "steps: got 0, expected an integer from 1 up"),
        ({"steps": "1.5"}, "--steps: got '1.5', expected whole numbers, with commas"),
        ({"options": ("--num", "0")}, "per_prompt: got 0"),
        ({"options": ("--workers", "0")}, "workers: got 0"),
        ({"options": ("--seed", "-1")}, "seed: got -1"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, options, said):
    options = dict(options)
    assert run(*options.pop("options", ()), **options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tlab: {said}")
    assert not (tmp_path / "grid").exists()


def test_everything_wrong_is_said_at_once(run, pictures, tmp_path, capsys):
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid/notes.txt").write_text("mine")
    assert run(steps="0") == 2
    lines = capsys.readouterr().err.splitlines()
    words = ["steps: got 0", "which holds other files", "broken.png"]
    assert len(lines) == 3 and all(w in line for w, line in zip(words, lines, strict=True))
    assert [path.name for path in (tmp_path / "grid").iterdir()] == ["notes.txt"]


def test_an_earlier_grid_with_another_setting_is_refused_by_name(run, tmp_path, capsys):
    GridStore(tmp_path / "grid").begin({"seed": 0}, [1e-4], [1])
    before = (tmp_path / "grid/grid.json").read_bytes()
    assert run("--seed", "1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "an earlier grid" in line and "--resume" in line
    assert run("--seed", "1", "--resume") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tlab: seed: got 1, expected 0, as in the earlier grid")
    assert (tmp_path / "grid/grid.json").read_bytes() == before


def test_more_workers_than_memory_holds_are_refused(pictures, tmp_path, monkeypatch):
    def found(workers):
        config = new_config(tmp_path / "grid", subject_images=pictures, identifier="zwx")
        values = {"learning_rates": [1e-4], "steps": [1]}
        return preflight_grid(config, workers=workers, **values)

    assert found(1).config.output == tmp_path / "grid"
    needed = found(1).estimate.memory
    monkeypatch.setattr("tlab_diffusion.training.hardware.free_memory", lambda _: int(2.5 * needed))
    monkeypatch.setattr(grid_search, "_gpus", lambda: [])
    found(2)
    with pytest.raises(InputError, match="workers: got 3, which need .* MiB"):
        found(3)
    monkeypatch.setattr(grid_search, "_gpus", lambda: ["0", "1"])
    found(4)  # two on each device
    with pytest.raises(InputError, match="workers: got 5"):
        found(5)


def test_workers_share_the_devices_that_the_command_may_use(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert _gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert _gpus() == ["5", "7"]


def test_ctrl_c_names_the_command_that_continues(run, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tlab_diffusion.dreambooth.grid.console.show_grid", interrupted)
    monkeypatch.setattr("sys.argv", ["tlab", "grid", "--output", "my grid"])
    assert run() == 130
    assert "Continue with: tlab grid --output 'my grid' --resume" in capsys.readouterr().out

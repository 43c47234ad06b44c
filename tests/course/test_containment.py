"""What an answer changes beside its result: undone after the check, and said in a line."""

import os
import random
import types

import numpy as np
import pytest
import torch
from torch import Tensor

from tlab_diffusion.course import check, containment
from tlab_diffusion.course.exercises.noising import snr


def environment(name: str = "TLAB_TEST_VARIABLE"):
    os.environ[name] = "1"


SIDE_EFFECTS = {
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's deterministic mode": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "torch's precision of matrix products": lambda: torch.set_float32_matmul_precision("medium"),
    "torch's print options": lambda: torch.set_printoptions(precision=1),
    "the working folder": lambda: os.chdir("/"),
    "the environment variables": environment,
    "torch's random state": lambda: torch.manual_seed(5),
    "numpy's random state": lambda: np.random.seed(5),
    "Python's random state": lambda: random.seed(5),
    "`torch.isclose`": lambda: setattr(torch, "isclose", lambda *a, **k: torch.tensor(True)),
    "`torch.Tensor.all`": lambda: setattr(Tensor, "all", lambda self: torch.tensor(True)),
    "`torch.nn.functional.mse_loss`": lambda: setattr(torch.nn.functional, "mse_loss", None),
    "`numpy.mean`": lambda: setattr(np, "mean", len),
}


def state() -> list:
    return [s.read() for s in (*containment.SETTINGS, *containment.RANDOM_STATES)]


@pytest.mark.parametrize("name", SIDE_EFFECTS)
def test_a_side_effect_is_undone_and_said(name):
    def answer(alphas_cumprod):
        SIDE_EFFECTS[name]()
        return snr(alphas_cumprod)

    before = state()
    functions = (torch.isclose, Tensor.all, torch.nn.functional.mse_loss, np.mean)
    result = check("noising.snr", answer)
    assert result.outcome == "passed"
    assert result.message.endswith(f"\n\nYour function also changed {name}. It was put back.")
    assert state() == before
    assert (torch.isclose, Tensor.all, torch.nn.functional.mse_loss, np.mean) == functions


def test_a_side_effect_of_a_wrong_answer_is_said_too():
    def answer(alphas_cumprod):
        torch.set_default_dtype(torch.float64)
        return alphas_cumprod * 1.3

    message = check("noising.snr", answer).message
    assert message.endswith("Your function also changed torch's default dtype. It was put back.")
    assert torch.get_default_dtype() == torch.float32


def test_what_belongs_to_the_thread_stays_there():
    def answer(alphas_cumprod):
        torch.set_grad_enabled(False)
        torch.set_default_device("meta")
        torch.set_num_threads(3)
        np.seterr(all="raise")
        np.set_printoptions(precision=2)
        return alphas_cumprod / (1 - alphas_cumprod)

    handling, options, threads = np.geterr(), np.get_printoptions(), torch.get_num_threads()
    assert check("noising.snr", answer).message.count("also changed") == 0
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    assert torch.get_default_device() == torch.device("cpu")
    assert (np.geterr(), np.get_printoptions()) == (handling, options)


def test_a_wrong_answer_cannot_make_the_check_agree():
    def answer(alphas_cumprod):
        torch.isclose = lambda *a, **k: torch.tensor(True)
        return alphas_cumprod

    usual = torch.isclose
    assert check("noising.snr", answer).outcome == "failed"
    assert torch.isclose is usual


def test_a_function_that_the_notebook_replaced_is_not_used(monkeypatch):
    def agree(*arguments, **options):
        return torch.tensor(True)

    monkeypatch.setattr(torch, "isclose", agree)
    result = check("noising.snr", lambda alphas_cumprod: alphas_cumprod)
    assert result.outcome == "failed"
    assert "This notebook replaces `torch.isclose`. The check used the library's" in result.message
    assert torch.isclose is agree


def test_what_a_library_wraps_stays(monkeypatch):
    """torch.compile and others replace some of torch's functions for good reasons."""
    code = compile("def wrapped(seed): pass", f"{containment.LIBRARIES}/torch/of_torch.py", "exec")
    names = {}
    exec(code, names)
    monkeypatch.setattr(torch, "manual_seed", names["wrapped"])
    assert "replaces" not in check("noising.snr", snr).message
    assert torch.manual_seed is names["wrapped"]


@pytest.mark.parametrize("end", ["os._exit(0)", "os.abort()", "exit()", "shell.ask_exit()"])
def test_an_answer_cannot_end_the_process(end, monkeypatch):
    asked = []
    shell = types.SimpleNamespace(ask_exit=lambda: asked.append(True))
    monkeypatch.setattr(containment, "_shell", lambda: shell)
    names = {"os": os, "shell": shell}
    exec(f"def answer(alphas_cumprod):\n    {end}", names)
    result = check("noising.snr", names["answer"])
    assert result.outcome == "raised"
    assert "SystemExit" in result.message.splitlines()[-1]
    assert not asked
    shell.ask_exit()
    assert asked


def test_a_child_process_may_end():
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")

    def answer(alphas_cumprod):
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            os._exit(0)
        return snr(alphas_cumprod)

    assert check("noising.snr", answer).outcome == "passed"


def test_a_flood_through_the_file_descriptor_is_said(capfd):
    def answer(alphas_cumprod):
        while True:
            os.write(1, b"again " * 1000)

    result = check("noising.snr", answer)
    assert result.outcome == "failed"
    assert "writes so much to the standard output" in result.message
    assert len(capfd.readouterr().out) < 3000

"""One place decides on the precision: what the hardware multiplies natively, nothing emulated."""

import pytest
import torch

from tlab_diffusion.errors import InputError
from tlab_diffusion.training.precision import autocast, choose_precision


@pytest.fixture
def machine(monkeypatch):
    """Pretend that the GPU or the processor has native bfloat16, emulates it, or lacks it."""

    def pretend(*, native_cuda=False, native_cpu=False):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: native_cuda or including_emulation,
        )
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native_cpu)

    return pretend


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [
        ("cuda", True, "bf16"),
        ("cuda", False, "fp16"),  # a T4 emulates bfloat16
        ("cpu", True, "bf16"),
        ("cpu", False, "fp32"),
        ("mps", True, "fp32"),
    ],
)
def test_auto_is_what_the_hardware_has(machine, device, native, expected):
    machine(native_cuda=native, native_cpu=native)
    assert choose_precision("auto", torch.device(device)) == expected


@pytest.mark.parametrize(
    ("device", "expected"), [("cuda", torch.float16), ("cpu", torch.float32), ("mps", None)]
)
def test_sampling_and_measuring_compute_in_the_precision_of_training(
    machine, monkeypatch, device, expected
):
    machine()
    made = {}
    monkeypatch.setattr(
        torch, "autocast", lambda kind, dtype, enabled: made.update(dtype=dtype, enabled=enabled)
    )
    autocast(torch.device(device))
    assert made == {
        "dtype": expected if expected == torch.float16 else None,
        "enabled": expected == torch.float16,
    }


def test_what_was_asked_for_is_kept_or_refused(machine):
    machine()
    for wanted in ("fp32", "bf16"):
        assert choose_precision(wanted, torch.device("cpu")) == wanted
    assert choose_precision("fp16", torch.device("cuda")) == "fp16"
    with pytest.raises(InputError, match="precision: got fp16 on mps, expected fp32 or bf16"):
        choose_precision("fp16", torch.device("mps"))

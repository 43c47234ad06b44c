"""Measures the peak memory of sampling: python benchmarks/sampling_memory.py

40 DDIM steps of a small U-Net, as a caller runs them and under `torch.no_grad()`, each in a process
of its own. A sampler that kept its autograd graph would need several times as much.
"""

import resource
import subprocess
import sys

MODES = ("as called", "no_grad")
LIMIT = 1.2  # as called, over no_grad


def main() -> None:
    """Prints the peak of each mode and their ratio."""
    peaks = {mode: float(_run(mode)) for mode in MODES}
    for mode, peak in peaks.items():
        print(f"40 DDIM steps, {mode:10} {peak:7.0f} MiB")
    print(f"ratio {peaks[MODES[0]] / peaks[MODES[1]]:.2f}, at most {LIMIT}")


def measure(mode: str) -> float:
    """MiB that the process has held at most."""
    import torch

    from tlab_diffusion.diffusion import samplers, schedules
    from tlab_diffusion.diffusion.unet import UNet

    model, x_T = UNet(), torch.randn(4, 3, 32, 32)
    alphas_cumprod = schedules.alphas_cumprod(schedules.linear_betas())
    timesteps = samplers.spaced_timesteps(1000, 40)
    with torch.set_grad_enabled(mode == MODES[0]):
        for _ in samplers.ddim(model, x_T, alphas_cumprod, timesteps):
            pass
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _run(mode: str) -> str:
    command = [sys.executable, __file__, mode]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(sys.argv[1]))
    else:
        main()

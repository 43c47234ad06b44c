"""Speed of a U-Net training step on this machine, with and without each optimisation.

python -m benchmarks.pretraining
Each way runs in a process of its own, in turns with the plain one; the ratio is what counts.
"""

import json
import statistics
import subprocess
import sys
import time

ROUNDS, STEPS, BATCH = 3, 6, 32
WAYS = {
    "plain": {},
    "one thread": {"threads": 1},
    "channels last": {"channels_last": True},
    "bfloat16": {"bf16": True},
    "attention written out": {"attention": True},
    "bfloat16 and attention": {"bf16": True, "attention": True},
    "memory kept": {"keep_memory": True},
    "batch 64": {"batch": 64},
    "latents encoded each time": {"encode": True},
}


def images_per_second(
    threads=2,
    channels_last=False,
    bf16=False,
    attention=False,
    keep_memory=False,
    batch=BATCH,
    encode=False,
) -> float:
    """Train a few steps on random pictures, and time the later ones."""
    import torch
    from transformers import CLIPTextModel

    from tlab_diffusion.pretraining.networks import new_unet, new_vae, text_config
    from tlab_diffusion.pretraining.recipe import load_recipe
    from tlab_diffusion.pretraining.tokenizer import new_tokenizer
    from tlab_diffusion.pretraining.unet import TextToImage
    from tlab_diffusion.training import hardware

    recipe = load_recipe()
    torch.set_num_threads(threads)
    if keep_memory:
        hardware.tune_malloc()
    tokenizer = new_tokenizer()
    model = TextToImage(
        new_unet(recipe.unet.channels), CLIPTextModel(text_config(tokenizer)), recipe.unet
    )
    vae = new_vae(recipe.vae.channels) if encode else None
    if attention:
        hardware.set_attention(model.unet, torch.device("cpu"))
    if channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    x0, noise = torch.randn(2, batch, 4, 16, 16)
    t, ids = torch.randint(1000, (batch,)), torch.randint(len(tokenizer), (batch, 32))

    def step():
        latents = x0
        if vae is not None:
            with torch.no_grad():
                latents = vae.encode(torch.randn(batch, 3, 64, 64)).latent_dist.mean
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(latents, t, noise, ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    return STEPS * batch / (time.perf_counter() - began)


def measured(way: dict) -> float:
    command = [sys.executable, "-m", "benchmarks.pretraining", json.dumps(way)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    print(f"U-Net training, batch {BATCH}, pictures a second (ratio to plain, median of {ROUNDS})")
    for name, way in WAYS.items():
        pairs = [(measured(way), measured(WAYS["plain"])) for _ in range(ROUNDS)]
        speed = statistics.median(fast for fast, _ in pairs)
        ratio = statistics.median(fast / plain for fast, plain in pairs)
        print(f"{name:28} {speed:6.1f}  x {ratio:.2f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(images_per_second(**json.loads(sys.argv[1])))
    else:
        main()

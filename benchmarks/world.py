"""Measures how many scenes a second are drawn at 64 x 64: python benchmarks/world.py [SCENES]"""

import sys
import time

from tlab_diffusion.picturebook import draw_scenes, random_scene, to_svg


def main(scenes: int) -> None:
    """Prints the rates of building documents alone, and of drawing with 1 and 2 processes."""
    start = time.perf_counter()
    for seed in range(scenes):
        to_svg(random_scene(seed))
    print(f"SVG alone:   {scenes / (time.perf_counter() - start):6.0f} scenes/s")
    for processes in (1, 2):
        start = time.perf_counter()
        draw_scenes(range(scenes), processes=processes, progress=False)
        rate = scenes / (time.perf_counter() - start)
        print(
            f"{processes} process{'es' * (processes > 1):2}: {rate:8.0f} scenes/s, start included"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)

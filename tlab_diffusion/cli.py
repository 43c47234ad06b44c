"""The command `tlab`."""

import functools
import inspect
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tlab_diffusion.dreambooth import presets
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.config import settings as run_settings
from tlab_diffusion.dreambooth.methods import METHODS
from tlab_diffusion.errors import InputError, check_choice, printable

app = typer.Typer(
    help="TLab Diffusion: the course on diffusion models and DreamBooth.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Folder = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the pictures.")]
Size = Annotated[int, typer.Option(help="Width and height in pixels.")]


class TrainingCommand(typer.core.TyperCommand):
    """A command whose help shows the defaults of the method and the model in its arguments."""

    def parse_args(self, context, arguments: list[str]) -> list[str]:
        if "--help" in arguments:
            show_defaults(self.params, arguments)
        return super().parse_args(context, arguments)


def takes_settings(*left_out: str) -> Callable:
    r"""Give a command an option for each setting of a run; it is called with a `DreamBoothConfig`.

    Args:
        left_out: settings that have no option in this command.
    """

    def decorate(command: Callable) -> Callable:
        taken = [each for each in run_settings() if each.name not in left_out]
        own = list(inspect.signature(command).parameters.values())[1:]

        @functools.wraps(command)
        def called(**options: object) -> None:
            chosen = {each.name: options.pop(each.name) for each in taken}
            return command(DreamBoothConfig(**chosen), **options)

        parameters = [*map(option_of, taken), *own]
        called.__signature__ = inspect.Signature(
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        )
        called.__annotations__ = {}
        return called

    return decorate


def option_of(setting: Field) -> inspect.Parameter:
    """The command line's option for a setting."""
    names = setting.metadata["options"]
    if setting.type is bool:
        names = (f"--{setting.name.replace('_', '-')}",)  # without a --no- option
    option = typer.Option(
        *names,
        help=setting.metadata["help"],
        metavar=setting.metadata["metavar"],
        show_default=False,  # see `show_defaults`
    )
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if setting.default is MISSING else setting.default,
        annotation=Annotated[setting.type, option],
    )


def show_defaults(parameters: list, arguments: list[str]) -> None:
    r"""Add to the help of each option the default that holds.

    Args:
        parameters: of a `TrainingCommand`; changed in place.
        arguments: of the command line, which may name a method and a model.
    """
    defaults = {each.name: each.default for each in run_settings()}
    chosen = {}
    for option in ("method", "model"):
        chosen[option] = defaults[option]
        for argument, value in zip(arguments, [*arguments[1:], ""], strict=True):
            name, equals, rest = argument.partition("=")
            if name == f"--{option}":
                chosen[option] = rest if equals else value
    check_choice("method", chosen["method"], METHODS)
    defaults |= presets.defaults(chosen["method"], chosen["model"], "TOKEN", "NOUN")
    every = presets.usual_evaluations(chosen["model"], defaults["max_steps"])
    defaults["evaluate_every"] = every or 0
    for parameter in parameters:
        value = defaults.get(parameter.name, MISSING)
        if value is not MISSING and value is not None:
            value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            parameter.help = f"{parameter.help} [default: {value}]"


@app.command()
def doctor(
    file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the report there.")
    ] = None,
) -> None:
    """Say what works on this machine; exit 1 if a lesson cannot run."""
    from dataclasses import asdict

    from tlab_diffusion.doctor import examine

    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise InputError("--json", got=str(file), expected="a file in a folder that exists")
    findings = []
    for finding in examine():
        findings.append(finding)
        print(f"{finding.state:6}  {finding.name}: {finding.detail}", flush=True)
        if finding.fix:
            print(f"{'':8}{finding.fix}")
    if file is not None:
        file.write_text(json.dumps([asdict(f) for f in findings], indent=2) + "\n")
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open the course in JupyterLab; further options go to JupyterLab."""
    from tlab_diffusion.copies import find_course, newer_lessons
    from tlab_diffusion.lab import copy_missing, open_lab

    course = find_course()
    copied = copy_missing(course)
    for lesson in copied:
        print(f"new lesson: {lesson.relative_to(course)}")
    new = [f"[{path.name}]({path.name})" for path in copied]
    for number in newer_lessons(course):
        line = (
            f"lesson {number} has another text than your copy, which stays as it is. For the new "
            f'version: from tlab_diffusion.course import fresh_copy; fresh_copy("{number}")'
        )
        print(line)
        new.append(line)
    open_lab(course, context.args, new)


@app.command()
def draw(
    caption: Annotated[str, typer.Argument(metavar="CAPTION")],
    size: Size = 512,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same pictures.")] = 0,
    num: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 1,
    out: Folder = Path(),
) -> None:
    """Draw scenes of the picture-book world from a caption."""
    files = [out / f"{slug(caption)}-{seed + number}.png" for number in range(num)]
    refuse_existing(files)
    from tlab_diffusion.picturebook import draw_caption, parse

    for word in parse(caption).unknown_words:
        print(f"tlab: warning: the picture book does not know '{word}'", file=sys.stderr)
    pictures = draw_caption(caption, size=size, seed=seed, num=num)
    for number, (file, picture) in enumerate(zip(files, pictures, strict=True)):
        save(picture, file, caption=caption, seed=seed + number, size=size)


@app.command()
def subject(
    name: Annotated[str, typer.Argument(metavar="NAME")] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the pictures.")
    ] = None,
    size: Size = 64,
    names: Annotated[bool, typer.Option("--list", help="Only list the subjects.")] = False,
) -> None:
    """Draw the reference pictures of a subject."""
    from tlab_diffusion.picturebook import SUBJECTS, subject_pictures

    if names:
        print("\n".join(SUBJECTS))
        return
    if not name or out is None:
        raise InputError(
            "tlab subject",
            got="no NAME" if not name else "no --out",
            expected="tlab subject NAME --out DIR",
            fix="See the names with: tlab subject --list",
        )
    pictures = subject_pictures(name, size=size)
    files = [out / f"{name}-{number}.png" for number in range(len(pictures))]
    refuse_existing(files)
    for file, picture in zip(files, pictures, strict=True):
        save(picture, file, subject=name, size=size)


@app.command()
def sample(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...")],
    model: Annotated[
        str, typer.Option(help='"picturebook", a pipeline folder, or a hub id.')
    ] = "picturebook",
    num: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same pictures.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the solver.")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="Scale of classifier-free guidance; 1 turns it off.")
    ] = None,
    solver: Annotated[str | None, typer.Option(help="Solver: ddim or dpm-solver++.")] = None,
    out: Folder = Path(),
) -> None:
    """Draw pictures from prompts with a diffusion model, and save a sheet of all of them.

    Steps, guidance scale and solver are by default those that a tuned folder was measured with;
    for other models 25, 5 and ddim.
    """
    twice = next((prompt for prompt in prompts if prompts.count(prompt) > 1), None)
    if twice is not None:
        raise InputError("PROMPT", got=f"{twice!r} twice", expected="prompts that differ")
    names = file_names(prompts)
    files = [out / f"{name}-{seed}-{number}.png" for name in names for number in range(num)]
    sheet = out / f"sheet-{names[0]}-{seed}.png"
    refuse_existing([*files, sheet])
    from tlab_diffusion.dreambooth.checkpoint.run_record import read_run
    from tlab_diffusion.pipelines import load, prompt_warnings, settings_of
    from tlab_diffusion.pipelines import sample as draw_samples
    from tlab_diffusion.pipelines.sampler_settings import DEFAULT

    chosen = {"steps": steps, "guidance_scale": guidance_scale, "solver": solver}
    DEFAULT.override(**chosen)  # refuses wrong values before a model is loaded
    pipeline = load(model)
    record = read_run(Path(model))  # of a tuned folder
    identifier = record and record.settings.get("identifier")
    for prompt in prompts:
        for warning in prompt_warnings(pipeline.tokenizer, prompt, identifier=identifier):
            print(f"tlab: warning: {printable(warning)}", file=sys.stderr)
    sampler = settings_of(pipeline).override(**chosen).as_dict()
    settings = {"model": model, "seed": seed, **sampler}
    pictures = draw_samples(pipeline, prompts, num=num, seed=seed, progress=True, **sampler)
    drawn = []
    for file, picture in zip(files, pictures, strict=True):
        place, number = divmod(len(drawn), num)
        save(picture, file, prompt=prompts[place], place=place, number=number, **settings)
        drawn.append(picture)
    save_sheet(drawn, prompts, num, sheet)


DEFAULTS = (
    "Defaults depend on the method and the model. --help shows those of the given --method and "
    f"--model; without these options, of {METHODS[0]} on picturebook."
)


@app.command(cls=TrainingCommand, epilog=DEFAULTS)
@takes_settings()
def dreambooth(
    config: DreamBoothConfig,
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            min=0, show_default=False, help="Steps between two measurements; 0 measures nothing."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an earlier run.")] = False,
) -> None:
    """Teach a model a subject from a few pictures.

    A run that is measured ends with the weights of its best step, others with the last ones.
    """
    from tlab_diffusion.dreambooth.preflight.checks import preflight
    from tlab_diffusion.dreambooth.report.console import show
    from tlab_diffusion.dreambooth.run import run

    if evaluate_every is None:
        evaluate_every = presets.usual_evaluations(config.model, config.max_steps)
    found = preflight(config, resume=resume, evaluate_every=evaluate_every)
    start = partial(
        run,
        found.config,
        found.pictures,
        evaluate_every=evaluate_every,
        resume=resume,
        names=found.names,
    )
    status = show(found, start, _resume_command())
    if status:
        raise typer.Exit(status)


@app.command(cls=TrainingCommand, epilog=DEFAULTS)
@takes_settings("max_steps", "learning_rate")
def grid(
    config: DreamBoothConfig,
    learning_rates: Annotated[
        str, typer.Option(metavar="A,B,...", help="Learning rates, for example 1e-4,3e-4.")
    ],
    steps: Annotated[
        str, typer.Option(metavar="N,M,...", help="Numbers of steps, for example 200,400,1000.")
    ],
    num: Annotated[
        int, typer.Option(help="Pictures of each prompt in the measurement of a trial.")
    ] = 4,
    workers: Annotated[int, typer.Option(help="Processes that share the work.")] = 1,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue or extend an earlier grid, or join a running one."),
    ] = False,
) -> None:
    """Search learning rate x steps: one training a rate, measured at each number of steps.

    From other terminals, and from machines that see DIR, workers join with the same command and
    --resume. DIR/best becomes the best trial's pipeline.
    """
    plan = {
        "learning_rates": numbers("--learning-rates", learning_rates, float),
        "steps": numbers("--steps", steps, int),
        "workers": workers,
        "resume": resume,
    }
    from tlab_diffusion.dreambooth.grid.console import show_grid
    from tlab_diffusion.dreambooth.grid.search import preflight_grid, search
    from tlab_diffusion.evaluation.measure import SampleCounts

    counts = SampleCounts(per_prompt=num)
    found = preflight_grid(config, counts=counts, **plan)
    start = partial(search, found.config, found.pictures, counts=counts, **plan)
    try:
        show_grid(found, start, workers=workers)
    except KeyboardInterrupt:
        print(f"\ntlab: interrupted; finished trials are kept. Continue with: {_resume_command()}")
        raise typer.Exit(130) from None


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(metavar="DIR", help="The tuned pipeline's folder.")],
    subject_images: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder with the subject's pictures.")
    ],
    identifier: Annotated[
        str, typer.Option(metavar="TOKEN", help="The word that means the subject.")
    ],
    class_noun: Annotated[
        str, typer.Option(metavar="NOUN", help="The kind of thing that the subject is.")
    ],
    base: Annotated[
        str | None, typer.Option(help="The original model; by default the one in run.json.")
    ] = None,
    num: Annotated[int, typer.Option(help="Pictures of each prompt.")] = 4,
    full: Annotated[bool, typer.Option("--full", help="Measure 60 prompts instead of 10.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write all numbers there.")
    ] = None,
) -> None:
    """Measure a tuned model as the paper does, and compare it with the original one.

    About a minute for picturebook on one core, two with --full.
    """
    if file is not None:
        there = file if file.exists() else file.absolute().parent
        if file.is_dir() or not there.exists() or not os.access(there, os.W_OK):
            expected = "a file in an existing folder that you can write to"
            raise InputError("--json", got=str(file), expected=expected)
    from tlab_diffusion.dreambooth.checkpoint.run_record import read_run
    from tlab_diffusion.dreambooth.measures.compare import evaluate as measured

    record = read_run(Path(model))
    word = record and record.settings.get("identifier")
    if word not in (None, identifier):
        warning = printable(f"{model} was taught '{word}', not '{identifier}'")
        print(f"tlab: warning: {warning}", file=sys.stderr)

    found = measured(
        model,
        subject_images,
        identifier,
        class_noun,
        base,
        num=num,
        full=full,
        seed=seed,
        progress=True,
    )
    print(found)
    if file is not None:
        file.write_text(json.dumps(found.as_dict(), indent=2) + "\n", encoding="utf-8")


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="DIR", help="A pipeline's folder.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Its name ends in .safetensors.")],
) -> None:
    """Write a pipeline as one file, with the tensor names of Stable Diffusion 1.x."""
    if file.exists():
        fix = "Choose another name, or move the file away."
        raise InputError("FILE", got=f"{file}, which exists", expected="a new file", fix=fix)
    from tlab_diffusion.pipelines.loading import check_model, local_folder
    from tlab_diffusion.pipelines.single_file import export_single_file

    check_model(model)
    folder = local_folder(model)
    if folder is None:
        raise InputError("DIR", got=model, expected="a pipeline folder on this machine")
    export_single_file(folder, file)
    print(file)


@app.command()
def pretrain(
    stage: Annotated[str, typer.Argument(metavar="vae|text|unet|encoders|all")] = "all",
    work: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run; by default your cache.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an earlier run.")] = False,
    base: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Start from a pipeline folder's weights."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with the recipe; by default the shipped one."),
    ] = None,
) -> None:
    """Train the models that the course ships, stage by stage."""
    stages = ("vae", "text", "unet", "encoders")
    if stage not in (*stages, "all"):
        raise InputError(
            "tlab pretrain", got=repr(stage), expected=f"one of {', '.join(stages)}, all"
        )
    if work is not None and work.exists() and not work.is_dir():
        raise InputError("--work", got=f"the file {work}", expected="a folder")
    if base is not None:
        from tlab_diffusion.pipelines.loading import PICTUREBOOK, check_model

        base = PICTUREBOOK if str(base) == "picturebook" else base
        if not (base / "model_index.json").is_file():
            expected = '"picturebook", or a pipeline folder with model_index.json'
            raise InputError("--from", got=str(base), expected=expected)
        check_model(base)

    from tlab_diffusion.files import cache_folder
    from tlab_diffusion.pretraining import stages as run
    from tlab_diffusion.pretraining.recipe import SHIPPED, load_recipe

    numbers = load_recipe(recipe or SHIPPED)
    folder = work or cache_folder() / "pretrain"
    print(f"in {printable(folder)}", flush=True)
    if stage != "all":
        stages = (stage,)
    elif base is not None:
        stages = ("vae", "unet", "encoders")  # the U-Net is trained with the base's text encoder
    run.check_states(folder, numbers, stages, resume=resume)
    for name in stages:
        getattr(run, f"pretrain_{name}")(folder, numbers, resume=resume, base=base)


def _resume_command() -> str:
    """The command that continues the run of this process."""
    arguments = [each for each in sys.argv[1:] if each != "--resume"]
    return shlex.join(["tlab", *arguments, "--resume"])


def numbers(name: str, text: str, kind: type) -> list:
    """Returns a comma-separated list of numbers: "1e-4,3e-4" becomes [1e-4, 3e-4]."""
    try:
        return [kind(each) for each in text.split(",")]
    except ValueError:
        expected = "whole numbers" if kind is int else "numbers"
        raise InputError(name, got=repr(text), expected=f"{expected}, with commas") from None


def slug(caption: str) -> str:
    """Returns a caption as a file name: "A striped cat!" becomes "a-striped-cat"."""
    return re.sub(r"[^a-z0-9]+", "-", caption.lower()).strip("-")[:80] or "scene"


def file_names(prompts: list[str]) -> list[str]:
    """Returns a name for each prompt; those that would be the same have their place behind."""
    names = [slug(prompt) for prompt in prompts]
    return [f"{n}-{i}" if names.count(n) > 1 else n for i, n in enumerate(names, start=1)]


def refuse_existing(files: list[Path]) -> None:
    for file in files:
        there = next(path for path in (file, *file.absolute().parents) if path.exists())
        if there == file or not there.is_dir():
            raise InputError(
                "--out",
                got=f"{there}, which exists",
                expected="a folder without it",
                fix="Choose another folder, or move the file away.",
            )
        if not os.access(there, os.W_OK):
            got = f"{there}, where nothing can be written"
            raise InputError("--out", got=got, expected="a folder of your own")


def save(pixels, file: Path, **settings: object) -> None:
    """Writes pixels (H, W, 3) as PNG, with the settings that drew them in the file's own text."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo
    from tqdm.auto import tqdm

    text = PngInfo()
    for key, value in settings.items():
        text.add_text(key, str(value))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, pnginfo=text)
    tqdm.write(printable(file))  # on its own line while the bar is open


def save_sheet(pictures: list, prompts: list[str], num: int, file: Path) -> None:
    """Writes all pictures as one, a row for each prompt with its words above the first."""
    import textwrap

    import numpy as np

    from tlab_diffusion.plots import picture_grid

    captions = ["" for _ in pictures]
    for row, prompt in enumerate(prompts):
        words = textwrap.fill(prompt, 20)  # characters, above a picture of a row of 6
        captions[row * num] = words.replace("$", r"\$")  # which would begin a formula
    picture_grid(np.stack(pictures), captions, columns=num, title="").save(file)
    print(printable(file))


def main(arguments: list[str] | None = None) -> int:
    """Runs `tlab`; returns 2 for bad input, after a line for each thing that is wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Notes on packages that nothing here needs are not for the reader.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # for characters that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        return app(arguments or ["--help"], prog_name="tlab", standalone_mode=False) or 0
    except InputError as error:
        for line in str(error).splitlines():  # several where several things are wrong
            print(f"tlab: {line}", file=sys.stderr)
        return 2
    except OSError as error:  # a path that cannot be looked at, a name that is too long
        print(f"tlab: {printable(error)}", file=sys.stderr)
        return 2
    except typer.TyperException as error:
        print(f"tlab: {printable(error.format_message())}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("tlab: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

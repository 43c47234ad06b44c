"""The subject's pictures: reads every file of a folder, with a finding for each."""

import io
import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps

from tlab_diffusion.errors import InputError, printable

SUFFIXES = {
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".ppm"),
    *(".heic", ".heif"),  # pictures too, which Pillow alone cannot read
}
# Pictures that Pillow cannot read, or of which it reads only a small preview.
UNSUPPORTED = {
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),  # raw data of cameras
    *(".jxl", ".psd", ".svg"),
}
CAPTIONS = (".txt", ".caption")
LONGEST_CAPTION = 10_000  # bytes: more is another text
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")  # none runs a program
MOST_FILES = 200  # a whole album is a mistake
MOST_ENLARGED = 2  # beyond, the model would learn the blur
EXIF_ORIENTATION = 0x0112
TURNS = {  # by orientation; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = "turned upright, as its EXIF data says"
EMPTY = "no pictures in it"
SAME_COLOUR = 2  # of 255: profiles that change no colour by more are sRGB
UNIFORM = 2.0  # of 255: standard deviation of a channel, below which a picture shows nothing

# Two pictures are near-duplicates where their 16 x 16 thumbnails differ by less than this, as the
# root mean square of 0 to 255. Measured on the subjects of the picture-book world at 256 pixels:
# a copy saved as JPEG of quality 30 is at 2, one reduced to 100 pixels below 4, one brightened
# by 5 % below 9; the nearest two poses in one place at 12, the nearest references at 47. A
# difference hash of 64 bits cannot tell them apart: it calls poses as close as copies, for most
# of its bits are the place's.
THUMBNAIL = 16
NEAR = 10.0


@dataclass(frozen=True)
class Finding:
    """The finding on one file.

    Args:
        name: of the file.
        state: "used" as it is, "fixed" and used, "caption" of a picture, "skipped" because it is no
            picture, or "refused": it cannot be trained on, which stops the run.
        details: what was changed or noticed, or the reason.
        caption: of a picture, from the text file of the same name.
    """

    name: str
    state: str
    details: tuple[str, ...] = ()
    caption: str | None = None

    def __str__(self) -> str:
        parts = [self.name, self.state, "; ".join(self.details)]
        return printable(": ".join(filter(None, parts)))


class Audit(NamedTuple):
    """The pictures (N, R, R, 3) uint8, and a finding for every file of the folder.

    Picture i is that of the i-th finding which is used or fixed.
    """

    pictures: np.ndarray
    findings: list[Finding]

    @property
    def refused(self) -> list[Finding]:
        """The findings that stop a run."""
        return [finding for finding in self.findings if finding.state == "refused"]

    @property
    def names(self) -> list[str]:
        """The names of the pictures' files, in the order of the pictures."""
        return names_of(self.findings)

    @property
    def captions(self) -> list[str | None]:
        """The pictures' captions, in the order of the pictures; None where there is none."""
        return [each.caption for each in self.findings if each.state in ("used", "fixed")]


def names_of(findings: Sequence[Finding]) -> list[str]:
    """The names of the files that gave a picture."""
    return [finding.name for finding in findings if finding.state in ("used", "fixed")]


class _Unusable(Exception):
    """A file that gives no picture; its arguments are the state and the reason."""


def audit(folder: str | Path, resolution: int) -> Audit:
    r"""Read the pictures of a subject, fix what can be fixed, and name what cannot.

    A picture is turned upright as its EXIF data says, converted to sRGB where a colour profile is
    embedded, flattened on white where it is transparent, made 8-bit RGB, cut to its centre square,
    and resized by a Lanczos filter. Of an animation or several pages, the first one is taken. A
    text file `x.txt` or `x.caption` next to `x.jpg` is that picture's caption.

    Args:
        folder: holds 3 to 5 pictures of one subject, as a rule.
        resolution: width and height R of what is returned.

    Raises:
        InputError: no such folder, or an album of more than 200 files. All else is a finding:
            look at `Audit.refused`.
    """
    folder = Path(folder)
    files = _files(folder)
    captions = _captions(files)
    pictures, findings = [], []
    for file in files:
        try:
            if file in captions.values():
                picture_file = next(each for each in captions if captions[each] == file)
                findings.append(Finding(file.name, "caption", (f"of {picture_file.name}",)))
                continue
            caption = _read_caption(captions[file]) if file in captions else None
            picture, changes = _prepared(*_opened(file, files), resolution)
        except _Unusable as unusable:
            state, reason = unusable.args
            findings.append(Finding(file.name, state, (reason,)))
        else:
            pictures.append(picture)
            state = "fixed" if changes else "used"
            findings.append(Finding(file.name, state, tuple(changes), caption))
    if not pictures and all(finding.state == "skipped" for finding in findings):
        findings.append(Finding(str(folder), "refused", (EMPTY, *_full_folders(folder))))
    stacked = np.stack(pictures) if pictures else np.empty((0, resolution, resolution, 3), np.uint8)
    return Audit(stacked, _with_duplicates_named(stacked, findings))


def _captions(files: list[Path]) -> dict[Path, Path]:
    """The caption file of each picture that has one."""
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    texts = {file.stem: file for file in files if file.suffix.lower() in CAPTIONS}
    return {file: texts[file.stem] for file in pictures if file.stem in texts}


def _read_caption(file: Path) -> str:
    try:
        if file.stat().st_size > LONGEST_CAPTION:
            raise _Unusable("refused", f"its caption {file.name} is a long text")
        text = " ".join(file.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise _Unusable("refused", f"its caption {file.name} cannot be read as UTF-8") from error
    if not text.isprintable() or not text:
        raise _Unusable("refused", f"its caption {file.name} has no words or control characters")
    return text


def _full_folders(folder: Path) -> list[str]:
    """The folders one level below that hold pictures, as text."""
    found = []
    for below in sorted(folder.iterdir()):
        if below.is_dir() and not below.name.startswith("."):
            num = sum(file.suffix.lower() in SUFFIXES for file in below.iterdir())
            found += [f"its folder {below.name} has {num}: give that one"] if num else []
    return found


def near_duplicates(pictures: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    r"""Pairs (i, j), i < j, of pictures (H, W, 3) uint8 that are nearly the same (see `NEAR`)."""
    thumbnails = [_thumbnail(picture) for picture in pictures]
    return [
        (i, j)
        for (i, a), (j, b) in itertools.combinations(enumerate(thumbnails), 2)
        if np.sqrt(np.mean((a - b) ** 2)) < NEAR
    ]


def _files(folder: Path) -> list[Path]:
    name = "subject images"
    if not folder.is_dir():
        got = f"the file {folder}" if folder.exists() else f"{folder}, which is not there"
        raise InputError(name, got=got, expected="a folder with 3 to 5 pictures of one subject")
    files = sorted(folder.iterdir())
    if len(files) > MOST_FILES:
        got = f"{folder}, with {len(files)} files"
        raise InputError(name, got=got, expected="a folder with 3 to 5 pictures of one subject")
    return files


def _opened(file: Path, files: list[Path]) -> tuple[Image.Image, list[str]]:
    """The decoded picture and what changed in decoding, or `_Unusable`."""
    if file.name.startswith(".") or not file.is_file():
        raise _Unusable("skipped", "hidden" if file.name.startswith(".") else "no file")
    suffix = file.suffix.lower()
    if suffix in UNSUPPORTED:
        if any(each.stem == file.stem and each.suffix.lower() in SUFFIXES for each in files):
            raise _Unusable("skipped", "the picture of the same name is used")
        raise _Unusable("refused", f"{suffix} cannot be read here: export it as JPEG or PNG")
    try:
        with warnings.catch_warnings():
            # A file of a few bytes can need more memory than the machine has: it is not decoded.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                # Pillow makes it 8 bits on its own, and turns a TIFF file, which then has no tag.
                deep = ";16" in str(image.tile)
                turned = getattr(image, "tag_v2", {}).get(EXIF_ORIENTATION) in TURNS
                num = getattr(image, "n_frames", 1)
                image.load()
                changes = ["16 bits a channel reduced to 8"] if deep else []
                if num > 1 and image.format != "MPO":  # whose others belong to the first
                    changes.append(f"the first of its {num} frames taken")
                return image, [*changes, TURNED] if turned else changes
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = f"{Image.MAX_IMAGE_PIXELS // 10**6} million pixels"
        raise _Unusable("refused", f"it has more than {most}: scale it down first") from error
    except Image.UnidentifiedImageError as error:
        if file.suffix.lower() not in SUFFIXES:
            raise _Unusable("skipped", "no picture") from error
        reason = "it cannot be read as a picture: save it as JPEG or PNG"
        raise _Unusable("refused", reason) from error
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise _Unusable("refused", f"it is damaged ({reason[0]})") from error


def _prepared(
    image: Image.Image, changes: list[str], resolution: int
) -> tuple[np.ndarray, list[str]]:
    """The picture (R, R, 3) uint8, and what was changed."""
    orientation = _orientation(image)
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
        changes = [*changes, TURNED]
    elif orientation != 1:
        changes = [*changes, "not turned, for its EXIF data is damaged"]
    profile = image.info.get("icc_profile")
    image, conversions = _in_8_bits(image)
    image, in_srgb = _to_srgb(image, profile) if profile else (image, [])
    image, flattened = _to_rgb(image)
    changes = [*changes, *conversions, *in_srgb, *flattened]
    shorter = min(image.size)
    if shorter * MOST_ENLARGED < resolution:
        size, least = f"{image.width} x {image.height}", -(-resolution // MOST_ENLARGED)
        raise _Unusable("refused", f"{size} pixels, too small: it needs {least} on each side")
    if image.width != image.height:
        changes.append(f"cut to its centre square, from {image.width} x {image.height}")
    if shorter != resolution:
        verb = "reduced" if shorter > resolution else "enlarged"
        changes.append(f"{verb} from {shorter} to {resolution} pixels a side")
    square = ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)
    pixels = np.asarray(square)
    if resolution > 1 and pixels.std(axis=(0, 1)).max() < UNIFORM:
        raise _Unusable("refused", "it is blank: all its pixels have nearly the same colour")
    return pixels, changes


def _orientation(image: Image.Image) -> object:
    """What its EXIF data says, from 1 to 8; anything else where that is damaged."""
    try:
        # Read afresh: of a JPEG file Pillow has swallowed what went wrong.
        Image.Exif().load(image.info.get("exif", b""))
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged data can make Pillow raise anything
        return None


def _in_8_bits(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The picture in 8 bits a channel and without a palette, and what was changed."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip it to white
        values = np.asarray(image).astype(np.float64) / 257  # 65535 becomes 255
        return Image.fromarray(values.round().astype(np.uint8)), []
    if image.mode in ("I", "F"):
        raise _Unusable("refused", "pixels of 32 bits, whose range is unknown: save it as PNG")
    if image.mode in ("P", "PA"):
        mode = "RGBA" if image.has_transparency_data else "RGB"
        return image.convert(mode), ["P made RGB"]
    return image, []


def _to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, list[str]]:
    """The picture in sRGB, its transparency kept, and what was changed."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = source.profile.profile_description or "without a name"
        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        colours = image.convert({"1": "L", "LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode))
        convert = ImageCms.buildTransform(source, _SRGB, colours.mode, "RGB")
        if _changes_no_colour(convert, colours.mode):
            return image, []
        converted = ImageCms.applyTransform(colours, convert)
    except Exception:  # a damaged profile can make the library raise anything
        return image, ["its colour profile is damaged or of another kind of pixels: ignored"]
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, [f"converted to sRGB from the colour profile {name}"]


_SRGB = ImageCms.createProfile("sRGB")


def _changes_no_colour(convert: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a profile is sRGB, under any name."""
    if mode not in ("L", "RGB"):
        return False
    levels = np.arange(0, 256, 15 if mode == "RGB" else 1, dtype=np.uint8)
    cube = np.stack(np.meshgrid(*[levels] * (3 if mode == "RGB" else 1)), axis=-1)
    cube = Image.fromarray(cube.reshape(len(levels), -1, *[3] * (mode == "RGB")))
    before = np.asarray(cube.convert("RGB")).astype(int)
    after = np.asarray(ImageCms.applyTransform(cube, convert)).astype(int)
    return bool(np.abs(before - after).max() <= SAME_COLOUR)


def _to_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The picture as RGB without transparency, and what was changed."""
    changes = []
    if image.mode in ("1", "L", "LA"):
        changes.append("grayscale made RGB")
    elif image.mode not in ("RGB", "RGBA"):
        changes.append(f"{image.mode} made RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
        changes.append("alpha flattened on white")
    return image.convert("RGB"), changes


def _with_duplicates_named(pictures: np.ndarray, findings: list[Finding]) -> list[Finding]:
    places = [i for i, finding in enumerate(findings) if finding.state in ("used", "fixed")]
    twins = {}
    for first, second in near_duplicates(pictures):
        twins.setdefault(places[second], findings[places[first]].name)
    return [
        replace(f, details=(*f.details, f"nearly the same picture as {twins[i]}"))
        if i in twins
        else f
        for i, f in enumerate(findings)
    ]


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    small = Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64)

"""The subject's pictures: every file of the folder is looked at, and what becomes of it is said."""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from tlab_diffusion.errors import InputError

SUFFIXES = {
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".ppm"),
    *(".heic", ".heif"),  # pictures too, which Pillow alone cannot read
}
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

# Two pictures are near-duplicates where their 16 x 16 thumbnails differ by less than this, as the
# root mean square of 0 to 255. Measured on the subjects of the picture-book world at 256 pixels:
# a copy saved as JPEG of quality 30 lies at 2, one reduced to 100 pixels below 4, one brightened
# by 5 % below 9; the nearest two poses in one place at 12, the nearest references at 47. A
# difference hash of 64 bits cannot tell them apart: it calls poses as close as copies, for most
# of its bits are the place's.
THUMBNAIL = 16
NEAR = 10.0


@dataclass(frozen=True)
class Finding:
    """What became of one file.

    Args:
        name: of the file.
        state: "used" as it is, "fixed" and used, "skipped" because it is no picture, or
            "refused": a picture that cannot be trained on, which stops the run.
        details: what was changed or noticed, or the reason.
    """

    name: str
    state: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ": ".join(filter(None, [self.name, self.state, "; ".join(self.details)]))


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


def names_of(findings: Sequence[Finding]) -> list[str]:
    """The names of the files that gave a picture."""
    return [finding.name for finding in findings if finding.state in ("used", "fixed")]


class _Unusable(Exception):
    """A file that gives no picture; its arguments are the state and the reason."""


def audit(folder: str | Path, resolution: int) -> Audit:
    r"""Read the pictures of a subject, fix what can be fixed, and name what cannot.

    A picture is turned upright as its EXIF data says, flattened on white where it is transparent,
    made 8-bit RGB, cut to its centre square, and resized by a Lanczos filter.

    Args:
        folder: holds 3 to 5 pictures of one subject, as a rule.
        resolution: width and height R of what is returned.

    Raises:
        InputError: no such folder, or an album of more than 200 files. All else is a finding:
            look at `Audit.refused`.
    """
    folder = Path(folder)
    pictures, findings = [], []
    for file in _files(folder):
        try:
            picture, changes = _prepared(*_opened(file), resolution)
        except _Unusable as unusable:
            state, reason = unusable.args
            findings.append(Finding(file.name, state, (reason,)))
        else:
            pictures.append(picture)
            findings.append(Finding(file.name, "fixed" if changes else "used", tuple(changes)))
    if not pictures and all(finding.state == "skipped" for finding in findings):
        findings.append(Finding(str(folder), "refused", (EMPTY,)))
    stacked = np.stack(pictures) if pictures else np.empty((0, resolution, resolution, 3), np.uint8)
    return Audit(stacked, _with_duplicates_named(stacked, findings))


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


def _opened(file: Path) -> tuple[Image.Image, list[str]]:
    """The decoded picture and what changed in decoding, or `_Unusable`."""
    if file.name.startswith(".") or not file.is_file():
        raise _Unusable("skipped", "hidden" if file.name.startswith(".") else "no file")
    try:
        with warnings.catch_warnings():
            # A file of a few bytes can ask for more memory than there is: not even begun.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                # Pillow makes it 8 bits on its own, and turns a TIFF file, which then has no tag.
                deep = ";16" in str(image.tile)
                turned = getattr(image, "tag_v2", {}).get(EXIF_ORIENTATION) in TURNS
                image.load()
                changes = ["16 bits a channel reduced to 8"] if deep else []
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
    image, conversions = _to_rgb(image)
    changes = changes + conversions
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
    return np.asarray(square), changes


def _orientation(image: Image.Image) -> object:
    """What its EXIF data says, from 1 to 8; anything else where that is damaged."""
    try:
        # Read afresh: of a JPEG file Pillow has swallowed what went wrong.
        Image.Exif().load(image.info.get("exif", b""))
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged data can make Pillow raise anything
        return None


def _to_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """The picture as 8-bit RGB, and what was changed."""
    changes = []
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip it to white
        values = np.asarray(image).astype(np.float64) / 257  # 65535 becomes 255
        image = Image.fromarray(values.round().astype(np.uint8))
    if image.mode in ("I", "F"):
        raise _Unusable("refused", "pixels of 32 bits, whose range nobody knows: save it as PNG")
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

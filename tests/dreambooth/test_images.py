"""The audit of a subject's pictures: what is used, fixed, skipped and refused, by name."""

import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageEnhance

from tlab_diffusion.dreambooth.data import images
from tlab_diffusion.dreambooth.data.images import audit, near_duplicates
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import SUBJECTS, render, subject_pictures, subject_scene

RED, BLUE = (255, 0, 0), (0, 0, 255)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def halves(left, right, size=(64, 64)):
    """A picture whose left half has one colour and whose right half another."""
    picture = Image.new("RGB", size, right)
    picture.paste(left, (0, 0, size[0] // 2, size[1]))
    return picture


def only(folder, resolution=64):
    """The picture and the finding of a folder with one file."""
    pictures, (finding,) = audit(folder, resolution)
    return (pictures[0] if len(pictures) else None), finding


@pytest.fixture
def blank_pictures_are_used(monkeypatch):
    monkeypatch.setattr(images, "UNIFORM", -1)


def test_a_picture_of_the_right_size_is_used_bit_for_bit(tmp_path):
    pixels = noise(64, 64, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture, finding = only(tmp_path)
    assert np.array_equal(picture, pixels) and picture.dtype == np.uint8
    assert (finding.name, finding.state, finding.details) == ("a.png", "used", ())
    assert str(finding) == "a.png: used"


def test_pictures_come_in_the_order_of_their_findings(tmp_path):
    for number in (3, 1, 2):
        Image.fromarray(noise(64, 64, 3, seed=number)).save(tmp_path / f"{number}.png")
    (tmp_path / "2a.png").write_bytes(b"no picture")
    pictures, findings = audit(tmp_path, 64)
    assert [finding.name for finding in findings] == ["1.png", "2.png", "2a.png", "3.png"]
    assert np.array_equal(pictures, np.stack([noise(64, 64, 3, seed=n) for n in (1, 2, 3)]))


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_rotation_is_applied(tmp_path, orientation, turn):
    pixels = noise(64, 64, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    picture, finding = only(tmp_path)
    assert np.array_equal(picture, turn(pixels))
    assert str(finding) == "a.png: fixed: turned upright, as its EXIF data says"


def test_a_tiff_file_that_pillow_turns_is_named_too(tmp_path):
    pixels = noise(64, 64, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.tif", exif=exif)
    picture, finding = only(tmp_path)
    assert np.array_equal(picture, np.rot90(pixels, -1))
    assert str(finding) == "a.tif: fixed: turned upright, as its EXIF data says"


def exif_data(*tags):
    """EXIF data of tags, each (number, kind, value); kind 2 is text, 3 a short number."""
    entries = b"".join(struct.pack(">HHI4s", tag, kind, 1, value) for tag, kind, value in tags)
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0no tags at all",
        b"Exif\0\0MM\0*",
        exif_data((0x0112, 2, b"6\0\0\0")),
        exif_data((0x0112, 3, b"\0\0\0\0")),
        exif_data((0x0112, 3, b"\0\x09\0\0")),
    ],
    ids=["no tags", "cut short", "text", "0", "9"],
)
def test_damaged_exif_data_turns_nothing_and_is_named(tmp_path, suffix, exif):
    pixels = noise(64, 64, 3)
    options = {"webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif, **options)
    picture, finding = only(tmp_path)
    assert suffix == "jpg" or np.array_equal(picture, pixels)
    line = f"a.{suffix}: fixed: not turned, for its EXIF data is damaged"
    assert str(finding) == line


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_tag_beside_it_does_not_keep_a_picture_from_being_turned(tmp_path, suffix):
    width_in_letters = (0x0100, 2, b"6\0\0\0")
    exif = exif_data(width_in_letters, (0x0112, 3, b"\0\x03\0\0"))
    halves(RED, BLUE).save(tmp_path / f"a.{suffix}", exif=exif)
    picture, finding = only(tmp_path)
    assert picture[0, 0, 2] > 250 and picture[0, 63, 0] > 250
    assert str(finding) == f"a.{suffix}: fixed: turned upright, as its EXIF data says"


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_exif_data_of_an_upright_picture_changes_nothing(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / f"a.{suffix}", exif=exif)
    assert str(only(tmp_path)[1]) == f"a.{suffix}: used"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha_is_flattened_on_white(tmp_path, mode):
    picture = halves(RED, BLUE).convert("RGBA")
    picture.putalpha(halves((255,) * 3, (0,) * 3).convert("L"))  # the right half is transparent
    if mode == "P":
        picture = picture.convert("P")
        picture.info["transparency"] = picture.getpixel((63, 0))
    picture.convert(mode).save(tmp_path / "a.png")
    picture, finding = only(tmp_path)
    left = (76, 76, 76) if mode == "LA" else RED  # red's luminance
    assert picture[:, :32].reshape(-1, 3).tolist() == [list(left)] * 2048
    assert (picture[:, 32:] == 255).all()
    first = {"RGBA": (), "LA": ("grayscale made RGB",), "P": ("P made RGB",)}[mode]
    assert finding.details == (*first, "alpha flattened on white") and finding.state == "fixed"


@pytest.mark.usefixtures("blank_pictures_are_used")
def test_half_transparent_is_half_white(tmp_path):
    Image.new("RGBA", (64, 64), (0, 100, 200, 51)).save(tmp_path / "a.png")
    picture, _ = only(tmp_path)
    assert np.abs(picture[0, 0].astype(int) - [204, 224, 244]).max() <= 1


def test_grayscale_is_made_rgb(tmp_path):
    pixels = noise(64, 64)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture, finding = only(tmp_path)
    assert np.array_equal(picture, np.repeat(pixels[..., None], 3, axis=2))
    assert finding.details == ("grayscale made RGB",)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_range(tmp_path, suffix):
    pixels = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    picture, finding = only(tmp_path)
    assert np.array_equal(picture[..., 0], (pixels / 257).round().astype(np.uint8))
    assert finding.details == ("16 bits a channel reduced to 8", "grayscale made RGB")


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, data):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


@pytest.mark.usefixtures("blank_pictures_are_used")
def test_sixteen_bits_of_three_colours_are_named(tmp_path):
    row = b"\0" + struct.pack(">HHH", 65535, 40000, 0) * 64
    (tmp_path / "a.png").write_bytes(png(64, 64, 16, 2, row * 64))
    picture, finding = only(tmp_path)
    assert np.abs(picture[5, 7].astype(int) - [255, 156, 0]).max() <= 1
    assert finding.details == ("16 bits a channel reduced to 8",)


def test_other_colour_models_are_made_rgb(tmp_path):
    halves(RED, BLUE).convert("CMYK").save(tmp_path / "a.tif")
    picture, finding = only(tmp_path)
    assert picture[0, 0].tolist() == [255, 0, 0] and finding.details == ("CMYK made RGB",)


@pytest.mark.usefixtures("blank_pictures_are_used")
def test_the_centre_square_is_kept(tmp_path):
    wide = Image.new("RGB", (100, 64), BLUE)
    wide.paste(RED, (18, 0, 82, 64))  # the centre square
    wide.save(tmp_path / "wide.png")
    wide.rotate(90, expand=True).save(tmp_path / "tall.png")
    pictures, findings = audit(tmp_path, 64)
    assert (pictures == np.array(RED, np.uint8)).all()
    assert findings[0].details == ("cut to its centre square, from 64 x 100",)
    assert findings[1].details[0] == "cut to its centre square, from 100 x 64"


@pytest.mark.usefixtures("blank_pictures_are_used")
def test_it_is_reduced_without_aliasing(tmp_path):
    """A checkerboard of single pixels is grey from afar; a poor filter would make it black."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(np.repeat(board[..., None], 3, axis=2)).save(tmp_path / "a.png")
    picture, finding = only(tmp_path)
    assert np.abs(picture.astype(int) - 127).max() <= 2
    assert finding.details == ("reduced from 256 to 64 pixels a side",)


def test_a_smaller_picture_is_enlarged_but_not_more_than_twice(tmp_path):
    Image.fromarray(noise(32, 40, 3)).save(tmp_path / "a.png")
    picture, finding = only(tmp_path)
    assert picture.shape == (64, 64, 3)
    assert finding.details[-1] == "enlarged from 32 to 64 pixels a side"
    Image.fromarray(noise(31, 40, 3)).save(tmp_path / "a.png")
    picture, finding = only(tmp_path)
    assert picture is None
    line = "a.png: refused: 40 x 31 pixels, too small: it needs 32 on each side"
    assert str(finding) == line


def test_stray_files_are_skipped_by_name(tmp_path):
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a.png")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / ".ipynb_checkpoints/a-checkpoint.png")
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "._a.png")  # as macOS leaves on other disks
    (tmp_path / "notes.txt").write_text("my robot")
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / "more").mkdir()
    pictures, findings = audit(tmp_path, 64)
    assert len(pictures) == 1
    states = {finding.name: finding.state for finding in findings}
    assert states.pop("a.png") == "used"
    assert states == dict.fromkeys(
        [".DS_Store", "._a.png", ".ipynb_checkpoints", "Thumbs.db", "more", "notes.txt"], "skipped"
    )


def test_a_picture_needs_no_suffix(tmp_path):
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a", format="JPEG")
    assert only(tmp_path)[1].state == "used"


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif", "tif", "bmp"])
def test_a_truncated_picture_is_refused_by_name(tmp_path, kind):
    file = tmp_path / f"a.{kind}"
    Image.fromarray(noise(64, 64, 3)).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = audit(tmp_path, 64)
    assert len(found.pictures) == 0 and len(found.refused) == 1
    assert str(found.refused[0]).startswith(f"a.{kind}: refused: it ")
    assert "\n" not in str(found.refused[0])


def test_whatever_a_decoder_raises_is_a_refusal(tmp_path, monkeypatch):
    def load(image):
        raise struct.error("unpack requires a buffer of 4 bytes\nand more")

    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    line = "a.png: refused: it is damaged (unpack requires a buffer of 4 bytes)"
    assert str(only(tmp_path)[1]) == line


@pytest.mark.parametrize("name", ["a.jpg", "a.HEIC", "empty.png"])
def test_a_picture_by_name_alone_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"" if "empty" in name else b"ftypheic and more")
    assert "save it as JPEG or PNG" in str(audit(tmp_path, 64).refused[0])


@pytest.mark.parametrize("side", [12_000, 60_000])  # beyond Pillow's warning, and its error
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(png(side, side, 8, 0, b""))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    (finding,) = audit(tmp_path, 64).refused
    line = "bomb.png: refused: it has more than 89 million pixels: scale it down first"
    assert str(finding) == line


def test_pixels_of_unknown_range_are_refused(tmp_path):
    Image.fromarray(np.ones((64, 64), np.float32)).save(tmp_path / "a.tif")
    assert "save it as PNG" in str(audit(tmp_path, 64).refused[0])


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def refuse(*arguments, **options):  # as the system does, unless one is its administrator
        raise PermissionError(13, "Permission denied")

    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", refuse)
    assert "Permission" in str(audit(tmp_path, 64).refused[0])


def test_an_empty_folder_is_refused(tmp_path):
    assert "no pictures in it" in str(audit(tmp_path, 64).refused[0])
    (tmp_path / ".DS_Store").touch()
    pictures, findings = audit(tmp_path, 64)
    assert pictures.shape == (0, 64, 64, 3) and pictures.dtype == np.uint8
    assert [finding.state for finding in findings] == ["skipped", "refused"]


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(InputError, match="nowhere, which is not there, expected a folder with"):
        audit(tmp_path / "nowhere", 64)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="got the file"):
        audit(tmp_path / "file", 64)
    for number in range(201):
        (tmp_path / str(number)).touch()
    with pytest.raises(InputError, match="with 202 files"):
        audit(tmp_path, 64)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_damaged_bytes_never_stop_the_audit(tmp_path, kind, changes):
    file = tmp_path / f"a.{kind.lower()}"
    halves(RED, BLUE).save(file, format=kind)
    data = bytearray(file.read_bytes())
    for where, new in changes:
        start = int(where * len(data))
        data[start : start + len(new)] = new
    for old in tmp_path.iterdir():
        old.unlink()
    file.write_bytes(data)
    found = audit(tmp_path, 64)
    assert len(found.pictures) + len(found.refused) == 1


# --- Colour profiles, frames, blank pictures, captions, other formats ------------------------

D50 = (0.9642, 1.0, 0.8249)
PRIMARIES = {  # XYZ of red, green and blue under D50, and gamma
    "Adobe RGB": (
        (0.6097, 0.3111, 0.0195),
        (0.2053, 0.6257, 0.0609),
        (0.1492, 0.0632, 0.7446),
        2.2,
    ),
    "Display P3": (
        (0.5151, 0.2412, -0.001),
        (0.292, 0.6922, 0.0419),
        (0.1571, 0.0666, 0.7841),
        2.2,
    ),
    "ProPhoto": ((0.7977, 0.288, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249), 1.8),
}


def icc(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """A colour profile of version 2 with these tags."""
    name = b"a test profile\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(79),
        b"wtpt": xyz(D50),
        **tags,
    }
    table, content = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", start + len(content), b"none", 0x02100000, b"mntr", space, pcs
    )
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", *fixed(D50))
    return head + bytes(128 - len(head)) + table + content


def fixed(values):
    return [round(value * 65536) for value in values]


def xyz(values) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">iii", *fixed(values))


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256)) + bytes(2)


def rgb_profile(red, green, blue, power) -> bytes:
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(power))
    return icc(b"RGB ", {b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue), **curves})


def cmyk_profile() -> bytes:
    """No ink is white, any full ink is black."""
    lab = [(255, 128, 128)] + [(0, 128, 128)] * 15
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *fixed([1, 0, 0, 0, 1, 0, 0, 0, 1]))
    lut = b"mft1" + bytes(4) + struct.pack(">BBBx", 4, 3, 2) + matrix + ramp * 4
    return icc(b"CMYK", {b"A2B0": lut + bytes(sum(lab, ())) + ramp * 3}, pcs=b"Lab ")


def saved_with(tmp_path, picture, profile, suffix="png"):
    picture.save(tmp_path / f"a.{suffix}", icc_profile=profile)
    return only(tmp_path)


@pytest.mark.parametrize("name", PRIMARIES)
def test_colours_of_other_profiles_become_those_of_srgb(tmp_path, name):
    """Against the matrices: linear light to XYZ, and from there to sRGB."""
    *primaries, power = PRIMARIES[name]
    pixels = np.random.default_rng(0).integers(60, 160, (64, 64, 3), dtype=np.uint8)
    light = (pixels / 255.0) ** power @ np.array(primaries)
    srgb = np.array([(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)])
    linear = (light @ np.linalg.inv(srgb)).clip(0, 1)
    curve = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    picture, finding = saved_with(tmp_path, Image.fromarray(pixels), rgb_profile(*primaries, power))
    assert np.abs(picture - 255 * curve).max() <= 3  # as finely as the library computes
    assert np.abs(picture.astype(int) - pixels).max() > 5
    (line,) = finding.details
    assert line == "converted to sRGB from the colour profile a test profile"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_every_format_brings_its_profile(tmp_path, suffix):
    profile = rgb_profile(*PRIMARIES["ProPhoto"])
    _, finding = saved_with(tmp_path, halves(RED, (90, 200, 90)), profile, suffix)
    assert any("converted to sRGB" in line for line in finding.details)


def test_an_srgb_profile_says_nothing_whatever_its_name(tmp_path):
    pixels = noise(64, 64, 3)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture, finding = saved_with(tmp_path, Image.fromarray(pixels), profile)
    assert np.array_equal(picture, pixels) and finding.details == ()


def test_profiles_of_gray_cmyk_lab_palette_and_transparent_pictures(tmp_path):
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1)))
    gray, finding = saved_with(tmp_path, ramp, icc(b"GRAY", {b"kTRC": gamma(1.0)}))
    assert gray[0, 16, 0] > 125  # linear light of 64 is sRGB's 137
    assert "converted to sRGB" in finding.details[0]

    (tmp_path / "a.png").unlink()
    ink = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    white = Image.new("L", (64, 64), 0)
    plates = Image.merge("CMYK", (ink, white, white, white))
    cmyk, finding = saved_with(tmp_path, plates, cmyk_profile(), "tif")
    assert cmyk[0, 0].min() > 250 and cmyk[0, 1].max() < 40  # cyan alone would be (0, 255, 255)
    assert "converted to sRGB" in finding.details[0]

    (tmp_path / "a.tif").unlink()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    into_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    picture, finding = saved_with(
        tmp_path, ImageCms.applyTransform(halves(RED, BLUE), into_lab), lab.tobytes(), "tif"
    )
    assert np.abs(picture.astype(int) - np.asarray(halves(RED, BLUE))).max() <= 25  # 8 bits
    assert "converted to sRGB" in finding.details[0]

    (tmp_path / "a.tif").unlink()
    clear = halves((90, 200, 90), BLUE).convert("RGBA")
    clear.putalpha(halves((255,) * 3, (0,) * 3).convert("L"))
    wide = rgb_profile(*PRIMARIES["ProPhoto"])
    picture, finding = saved_with(tmp_path, clear, wide)
    assert (picture[:, 32:] == 255).all() and "converted to sRGB" in finding.details[0]
    palette, finding = saved_with(tmp_path, halves((90, 200, 90), BLUE).quantize(2), wide)
    assert np.array_equal(palette[:, :32], picture[:, :32])
    assert "converted to sRGB" in finding.details[1]


@pytest.mark.parametrize("profile", [b"no profile", icc(b"CMYK", {}), cmyk_profile()[:200]])
def test_a_damaged_or_unsuitable_profile_is_named_and_ignored(tmp_path, profile):
    picture, finding = saved_with(tmp_path, halves(RED, BLUE), profile)
    assert np.array_equal(picture, np.asarray(halves(RED, BLUE)))
    assert finding.details == (
        "its colour profile is damaged or of another kind of pixels: ignored",
    )


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_of_several_frames_the_first_is_taken_and_that_is_named(tmp_path, suffix):
    frames = [Image.fromarray(noise(64, 64, 3, seed=n)).convert("P").convert("RGB") for n in (1, 2)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    picture, finding = only(tmp_path)
    assert np.abs(picture.astype(int) - np.asarray(frames[0])).mean() < 8
    assert finding.details[0] == "the first of its 2 frames taken" and finding.state == "fixed"


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_pictures_are_refused(tmp_path, level):
    nearly = np.full((64, 64, 3), level, np.uint8)
    nearly[::2] ^= 1
    Image.fromarray(nearly).save(tmp_path / "a.png")
    picture, finding = only(tmp_path)
    assert picture is None and "blank" in str(finding) and finding.state == "refused"


def test_captions_beside_pictures(tmp_path):
    for name in ("a.png", "b.JPG", "c.png"):
        Image.fromarray(noise(64, 64, 3, seed=ord(name[0]))).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("\ufeffa sks robot\n on the moon ", encoding="utf-8")
    (tmp_path / "b.caption").write_text("a sks robot")
    (tmp_path / "notes.txt").write_text("no picture has this name")
    found = audit(tmp_path, 64)
    assert found.captions == ["a sks robot on the moon", "a sks robot", None]
    lines = [str(finding) for finding in found.findings]
    assert "a.txt: caption: of a.png" in lines and "b.caption: caption: of b.JPG" in lines
    assert "notes.txt: skipped: no picture" in lines and len(lines) == 6


@pytest.mark.parametrize("content", [b"caf\xe9", b" \n", b"a\x1b[31m", b"a" * 20_000])
def test_a_caption_that_is_none_is_refused(tmp_path, content):
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(content)
    (finding,) = audit(tmp_path, 64).refused
    assert str(finding).startswith("a.png: refused: its caption a.txt ")


def test_a_full_folder_one_level_down_is_named(tmp_path):
    (tmp_path / "10_name").mkdir()
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "10_name/a.png")
    (tmp_path / "empty").mkdir()
    (finding,) = audit(tmp_path, 64).refused
    assert finding.details == ("no pictures in it", "its folder 10_name has 1: give that one")


@pytest.mark.parametrize("suffix", sorted(images.UNSUPPORTED))
def test_other_formats_are_named_as_unsupported_pictures(tmp_path, suffix):
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / f"a{suffix.upper()}")  # .dng is TIFF with a preview
    (finding,) = audit(tmp_path, 64).refused
    assert "export it as JPEG or PNG" in str(finding)
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a.jpg")  # both, as cameras save them
    found = audit(tmp_path, 64)
    assert len(found.pictures) == 1 and not found.refused


def test_names_are_escaped(tmp_path):
    name = os.fsdecode(b"a\xe9\x1b[31m\n.png")
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / name)
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "b\u202e.png")
    first, second = map(str, audit(tmp_path, 64).findings)
    assert first == r"a\xe9\x1b[31m\n.png: used"
    assert second == r"b\u202e.png: used: nearly the same picture as a\xe9\x1b[31m\n.png"


# --- Near-duplicates -------------------------------------------------------------------------


def copies(picture, tmp_path):
    """The same picture, as it comes back from other programs."""
    picture = Image.fromarray(picture)
    picture.save(tmp_path / "copy.jpg", quality=30)
    yield Image.open(tmp_path / "copy.jpg")
    yield picture.resize((100, 100), Image.Resampling.LANCZOS).resize(picture.size)
    yield ImageEnhance.Brightness(picture).enhance(1.05)


def test_copies_are_near_duplicates_and_poses_are_not(tmp_path):
    for name in SUBJECTS:
        references = subject_pictures(name, size=256)
        assert near_duplicates(references) == []
        for copy in copies(references[0], tmp_path):
            assert near_duplicates([*references, np.asarray(copy)]) == [(0, len(references))]
        same_place = [render(subject_scene(name, k, place="meadow"), 256) for k in range(8)]
        assert near_duplicates(same_place) == []


def test_a_near_duplicate_is_named_and_used(tmp_path):
    first, second = subject_pictures(next(iter(SUBJECTS)))[:2]
    for name, picture in {"a": first, "b": second, "c": first, "d": first}.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    pictures, findings = audit(tmp_path, 64)
    assert len(pictures) == 4
    assert [f.details for f in findings] == [(), ()] + 2 * [("nearly the same picture as a.png",)]
    assert {finding.state for finding in findings} == {"used"}

"""Images that can be trusted, and those that cannot."""

import io
import os
import re
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from helpers import picture
from PIL import Image

from aullm_lib.support import images


def encoded(kind: str, image: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def thumbnailed(jpeg: bytes) -> bytes:
    """A JPEG with a whole small JPEG in its header, as cameras write: one more end marker, before the scan."""
    small = b"Exif\0\0" + encoded("JPEG", picture((16, 16)))
    return jpeg[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + jpeg[2:]


def huge_png(side: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def zeroed(jpeg: bytes, count: int) -> bytes:
    """With zero bytes in the middle of its scan."""
    start = (jpeg.rfind(b"\xff\xda") + len(jpeg)) // 2
    return jpeg[:start] + bytes(count) + jpeg[start + count :]


GREY = picture()
JPEG, PNG = encoded("JPEG", GREY), encoded("PNG", GREY)
BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"no picture", "not a readable image"),
    "header only": (b"\xff\xd8\xff no picture", "not a readable image"),
    "gif": (encoded("GIF", GREY), "not a readable image"),
    "cut JPEG": (JPEG[: len(JPEG) // 2], "cut short (a JPEG without its end)"),
    "JPEG without its last two bytes": (JPEG[:-2], "cut short (a JPEG without its end)"),
    "cut JPEG with a thumbnail": (thumbnailed(JPEG)[:-200], "cut short (a JPEG without its end)"),
    "cut PNG": (PNG[: len(PNG) // 2], "cut short (a PNG without its end)"),
    "cut BMP": (encoded("BMP", GREY)[:-500], "cut short (a BMP smaller than it says)"),
    "damaged PNG": (PNG[:60] + bytes(200) + PNG[260:], "not a readable image"),
    "1x1": (encoded("PNG", GREY[:1, :1]), "1×1 is too small for a frame"),
    "15 high": (encoded("PNG", GREY[:15]), "120×15 is too small for a frame"),
    "16-bit grey": (encoded("PNG", GREY.astype(np.uint16) * 257), "16 bits a channel"),
    "16-bit RGB": (
        cv2.imencode(".png", np.dstack([GREY] * 3).astype(np.uint16) * 257)[1].tobytes(),
        "16 bits a channel",
    ),
    "CMYK": (encoded("JPEG", Image.fromarray(GREY).convert("CMYK")), "colour mode CMYK"),
    "bilevel": (encoded("PNG", Image.fromarray(GREY).convert("1")), "colour mode 1;"),
    "a megapixel too many": (huge_png(5_920), "5920×5920 is more than 34 megapixels"),
    "99 megapixels": (huge_png(9_950), "9950×9950 is more than 34 megapixels"),
    "30000x30000": (huge_png(30_000), "30000×30000 is more than 34 megapixels"),
    "IEND among the pixels of a cut PNG": (PNG[:200] + b"IEND" + PNG[200:-12], "cut short (a PNG without its end)"),
    "zeros in a JPEG": (zeroed(JPEG, 64), "damaged (zeros where the picture's data should be)"),
    "zeros in an optimised JPEG": (zeroed(encoded("JPEG", GREY, optimize=True), 64), "damaged (zeros where"),
    "zeros in a colour JPEG": (zeroed(encoded("JPEG", np.dstack([GREY] * 3)), 64), "damaged (zeros where"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_named_each_with_its_reason(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / "img0001.jpg"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        for rgb in (False, True):
            with pytest.raises(images.BadImage, match=re.escape(f"{path}: {message}")):
                images.read(path, rgb)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_ordinary_images_are_read_as_pillow_reads_them(tmp_path, mode, kind):
    if kind == "JPEG" and mode in ("P", "RGBA"):
        return  # JPEG has no such mode
    image = Image.fromarray(picture((40, 50, 3))).convert(mode)
    path = tmp_path / "img0001.jpg"
    path.write_bytes(encoded(kind, image))
    with Image.open(path) as read:
        colour = np.asarray(read.convert("RGB"))
        grey = np.asarray(read.convert("RGB").convert("L")).astype(int)
    got = images.read(path, rgb=True)
    assert np.array_equal(got, colour) and got.flags.c_contiguous
    assert np.abs(images.read(path) - grey).max() <= 2
    assert np.array_equal(images.read(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    trailing = thumbnailed(encoded("JPEG", GREY)) + b"\0" * 300
    path.write_bytes(trailing)
    assert images.read(path).shape == GREY.shape


def test_pillow_does_not_warn_of_a_frame_below_the_limit():
    assert images.inspect(huge_png(5_800)) == ("", (5_800, 5_800))  # pytest makes warnings errors


def test_whole_jpegs_are_not_taken_for_damaged_ones():
    """Optimised flat pictures have thousands of zero bytes in a row; none of the others has more than 3."""
    ramp = np.tile(np.linspace(0, 255, 320).astype(np.uint8), (240, 1))
    framed = np.pad(picture((80, 100)), 80)
    noise = np.random.default_rng(0).integers(0, 256, (240, 320), np.uint8)
    flat = {value: np.full((240, 320), value, np.uint8) for value in (0, 127, 128, 255)}
    longest = 0
    for image in (ramp, framed, noise, *flat.values()):
        for quality in (1, 7, 40, 75, 95, 100):
            for options in ({}, {"optimize": True}, {"progressive": True}):
                for grey in (True, False):
                    content = encoded("JPEG", image if grey else np.dstack([image] * 3), quality=quality, **options)
                    assert images.inspect(content)[0] == "", (quality, options)
                    scan = content[content.rfind(b"\xff\xda") : content.rfind(b"\xff\xd9")]
                    if not options:
                        longest = max(longest, *map(len, re.findall(rb"\0*", scan)))
                    elif "optimize" in options and image is flat[127]:
                        assert bytes(images.ZEROS) in scan
    assert longest <= 3


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
def test_bytes_behind_the_end_of_a_whole_image_are_none_of_it(tmp_path, kind):
    path, whole = tmp_path / "img0001.x", encoded(kind, GREY)
    path.write_bytes(whole)
    expected = images.read(path)
    for more in (b"\0", bytes(8192), b"IDAT" * 3000, encoded("JPEG", GREY)):
        path.write_bytes(whole + more)
        assert np.array_equal(images.read(path), expected)


@pytest.mark.parametrize("wrong", [0, 2, 2**31])
def test_a_bmp_is_whole_by_its_pixels_not_by_the_length_in_its_header(tmp_path, wrong):
    path, whole = tmp_path / "img0001.bmp", encoded("BMP", GREY)
    path.write_bytes(whole[:2] + ((len(whole) + wrong) if wrong else 0).to_bytes(4, "little") + whole[6:])
    assert np.array_equal(images.read(path), GREY)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(images.BadImage, match="cut short"):
        images.read(path)


def test_a_pipe_a_folder_and_a_huge_file_are_no_images_and_stop_nobody(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "img1.png")
    (tmp_path / "img2.png").mkdir()
    (tmp_path / "img3.png").symlink_to("/dev/zero")
    monkeypatch.setattr(images, "LARGEST", 1000)
    (tmp_path / "img4.png").write_bytes(PNG)
    for n, message in enumerate(["no ordinary file", "a folder and no file", "no ordinary file", "larger than any"], 1):
        with pytest.raises(images.BadImage, match=message):
            images.read(tmp_path / f"img{n}.png")

"""One image file: whether it can be trusted, judged by its header and its end, and its pixels."""

import errno
import io
import stat
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}  # endings
SIDES = (16, 34_000_000)  # least side of a frame, and most pixels of it: those of 8K; releases have up to 2.3 million
LARGEST = 1 << 28  # bytes of a file: more than any frame of so many pixels needs
# By how a file begins. Opened without Image.open, which warns of large images in every thread on its own terms.
READERS: dict[bytes, Callable[..., ImageFile]] = {
    b"\xff\xd8": JpegImageFile,
    b"\x89PNG": PngImageFile,
    b"BM": BmpImageFile,
}
UNREADABLE = {  # what is wrong with this file, not with the disk
    errno.ENOENT: "no such file, or a link to none; unpack it again",
    errno.EACCES: "not permitted to read it; change its permissions",
    errno.EPERM: "not permitted to read it; change its permissions",
    errno.EISDIR: "a folder and no file; unpack it again",
    errno.ELOOP: "a link that leads round in a circle; unpack it again",
}
ZEROS = 64  # zero bytes in a row that a JPEG's scan does not have (see _may_be_zero)
MODES = {"L", "P", "RGB", "RGBA"}  # Pillow's names for 8-bit grey, palette and colour


class BadImage(ValueError):
    """A file that is no image, or none that can be trusted; the message names it and says what to do."""


def read(path: Path, rgb: bool = False) -> np.ndarray:
    """Reads a frame.

    A JPEG has no checksum: of damage between its ends, only a run of zero bytes is noticed, as lost disk blocks leave
    it.

    Returns:
        [H, W] uint8 grey, or [H, W, 3] uint8 RGB (three equal channels if the file is grey).

    Raises:
        BadImage: the file is missing, may not be read, or is no whole 8-bit JPEG, PNG or BMP of sane size.
        OSError: the disk fails.
    """
    content = contents(path)
    wrong, _ = inspect(content)
    if not wrong:  # OpenCV decodes 10 to 20 % faster than Pillow, to the same grey values
        try:
            flag = cv2.IMREAD_COLOR_RGB if rgb else cv2.IMREAD_GRAYSCALE
            image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
        except cv2.error:
            image = None
        if image is not None:
            return image
        wrong = "not a readable image; unpack it again or leave the clip out"
    raise BadImage(f"{path}: {wrong}")


def contents(path: Path) -> bytes:
    """The bytes of an image file. Raises BadImage and OSError as ``read``."""
    try:
        if path.exists() and not path.is_dir():  # else opening it says what is wrong
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever
                raise BadImage(f"{path}: no ordinary file; unpack it again")
            if status.st_size > LARGEST:
                raise BadImage(f"{path}: larger than any frame ({LARGEST >> 20} MiB); unpack it again")
        return path.read_bytes()
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        raise BadImage(f"{path}: {UNREADABLE[error.errno]}") from None


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image in pixels. Raises BadImage and OSError as ``read``."""
    wrong, size = inspect(contents(path))
    if wrong:
        raise BadImage(f"{path}: {wrong}")
    return size


def inspect(content: bytes) -> tuple[str, tuple[int, int]]:
    """What is wrong with an image file ("" if nothing is), and its width and height in pixels (0 where unknown).

    Judged by its header and its end alone, before anything of its size is allocated.
    """
    size = (0, 0)
    if not content:
        return "the file is empty; unpack it again", size
    reader = next((reader for begin, reader in READERS.items() if content.startswith(begin)), None)
    if reader is None:
        return "not a readable image; unpack it again or leave the clip out", size
    try:
        with reader(io.BytesIO(content)) as image:
            kind, mode, size = image.format, image.mode, image.size
    except Exception:  # Pillow's readers let many kinds out for a damaged header
        return "not a readable image; unpack it again or leave the clip out", size
    width, height = size
    if width * height > SIDES[1]:
        return (
            f"{width}×{height} is more than {SIDES[1] // 10**6} megapixels, those of 8K; shrink the frames first",
            size,
        )
    if min(width, height) < SIDES[0]:
        return f"{width}×{height} is too small for a frame (at least {SIDES[0]} pixels a side)", size
    if mode.startswith("I") or (kind == "PNG" and content[24] == 16):
        return "16 bits a channel; convert the frames to 8 bits, the same way for all", size
    if mode not in MODES:
        return f"colour mode {mode}; convert the frames to 8-bit grey or RGB", size
    # What is cut short OpenCV would fill up with grey, silently. Scan data never hold either marker.
    if kind == "JPEG":
        scan = content.rfind(b"\xff\xda")
        end = content.find(b"\xff\xd9", scan)
        if end < 0:
            return "cut short (a JPEG without its end); unpack it again", size
        if content.find(bytes(ZEROS), scan, end) >= 0 and not _may_be_zero(content):
            return "damaged (zeros where the picture's data should be); unpack it again", size
    if kind == "PNG" and not _has_end(content):
        return "cut short (a PNG without its end); unpack it again", size
    if kind == "BMP" and len(content) < _bmp_length(content, width, height):
        return "cut short (a BMP smaller than it says); unpack it again", size
    return "", size


def _has_end(png: bytes) -> bool:
    """Whether a PNG's chunks reach its end; what recovered files have behind it is none of it."""
    at = 8
    while at + 12 <= len(png):
        if png[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return False


def _bmp_length(bmp: bytes, width: int, height: int) -> int:
    """The least length of a BMP: where its pixels begin, and their rows; compressed ones as the header says.

    The file's own length, in its header, is wrong in many files, and no decoder heeds it.
    """
    bits, compressed = int.from_bytes(bmp[28:30], "little"), int.from_bytes(bmp[30:34], "little") in (1, 2)
    pixels = int.from_bytes(bmp[34:38], "little") if compressed else (width * bits + 31) // 32 * 4 * height
    return int.from_bytes(bmp[10:14], "little") + pixels


def _may_be_zero(content: bytes) -> bool:
    """Whether a whole JPEG's scan could hold ZEROS zero bytes in a row: if it is no baseline one, or flat areas may.

    512 zero bits span a whole block (8×8) of the first component at least, whose AC coefficients are then all coded by
    the code word of zeros alone, the first of its Huffman table. If that is "end of block", as in some optimised
    tables, flat areas give such runs. In the standard tables, and in most others, it is a coefficient of one bit, and
    the bit 0 after it is its sign: a block whose 63 coefficients are all -1 is no picture. (Flat pictures, noise and
    gradients of all qualities then have no more than 3 zero bytes in a row.)
    """
    first = {}  # of each AC table: the symbol of its first code word
    at, sequential = 2, False
    while content[at] == 0xFF and at + 4 < len(content):
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        sequential |= marker in (0xC0, 0xC1)
        if marker == 0xC4:  # tables: class and number, how many codes of each of 16 lengths, the symbols
            table, end = at + 4, at + 2 + length
            while table + 17 < end:
                first[content[table]] = content[table + 17]
                table += 17 + sum(content[table + 1 : table + 17])
        if marker == 0xDA:
            symbol = first.get(0x10 | (content[at + 6] & 0xF), 0)
            return not sequential or symbol & 0xF == 0  # of no bits: end of block, or 16 zeros
        at += 2 + length
    return True

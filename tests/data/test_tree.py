"""What is found in folders of images, damaged and odd files among them: each is shown, named or counted."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import default_loader

from nsbench.data.folder import open_folder
from nsbench.data.pictures import BadImage, View, decode
from nsbench.data.streamed import StreamedSet
from nsbench.data.tree import scan
from nsbench.errors import DataError
from tests.data.layouts import link, photograph, square, write

VIEW = View(size=224, resize=256)


def saved(kind: str, image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    return saved(kind, square(1), save_all=True, append_images=[square(2), square(3)])


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved("JPEG", Image.open(photograph(1)), exif=exif)


def deep() -> bytes:
    return saved("PNG", Image.fromarray(np.asarray(square(1).convert("L"), dtype=np.uint16) * 257))


GOOD = {
    "plain.JPEG": lambda: photograph(1).read_bytes(),
    "upper.JPG": lambda: saved("JPEG", square(1)),
    "mixed.JpEg": lambda: saved("JPEG", square(1)),
    "grey.JPEG": lambda: saved("JPEG", square(1).convert("L")),
    "cmyk.JPEG": lambda: saved("JPEG", square(1).convert("CMYK")),
    "rgba.png": lambda: saved("PNG", square(1).convert("RGBA")),
    "palette.png": lambda: saved("PNG", square(1).convert("P")),
    "deep.png": deep,
    "turned.JPEG": turned,
    "progressive.JPEG": lambda: saved("JPEG", square(1), progressive=True),
    "png inside.JPEG": lambda: saved("PNG", square(1)),
    "webp inside.jpg": lambda: saved("WEBP", square(1)),
    "animated.webp": lambda: animated("WEBP"),
    "animated.png": lambda: animated("PNG"),
    "tiff.TIFF": lambda: saved("TIFF", square(1)),
    "bmp.bmp": lambda: saved("BMP", square(1)),
    "tail.JPEG": lambda: photograph(1).read_bytes() + b"garbage" * 100,
    "large head.JPEG": lambda: saved("JPEG", square(1), comment=b"x" * 60_000),
    "50% ü\N{SNOWMAN}.png": lambda: saved("PNG", square(1)),
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_images_are_seen_as_torchvision_sees_them(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "c" / name, GOOD[name]())
    assert open_folder(tmp_path).ids == (f"c/{name}",)
    np.testing.assert_array_equal(decode(path), np.asarray(default_loader(str(path))))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb() -> bytes:
    """A PNG file of 100 bytes that says it is 60,000 pixels wide and high."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def flipped() -> bytes:
    content = bytearray(saved("PNG", square(1)))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


BAD = {
    "empty.JPEG": (lambda: b"", "an empty file"),
    "page.JPEG": (lambda: b"<html>404 Not Found</html>", "no image of a known format"),
    "zeros.JPEG": (lambda: bytes(5000), "no image of a known format"),
    "pointer.JPEG": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "no image of a known"),
    "head only.JPEG": (lambda: photograph(1).read_bytes()[:20], "no image of a known format|truncated|not enough|EOF"),
    "half.JPEG": (lambda: photograph(1).read_bytes()[:9000], "truncated"),
    "last byte.png": (lambda: saved("PNG", square(1))[:-2000], "truncated"),
    "flipped.png": (flipped, "broken|decompressing|checksum|CRC|truncated|unrecognized"),
    "bomb.png": (bomb, "too many|exceeds"),
    "half.webp": (lambda: saved("WEBP", square(1))[:3000], "no image|failed|decode|truncated"),
    "half.tif": (lambda: saved("TIFF", square(1), compression="tiff_lzw")[:5000], "no image|truncated|decoder|-2|seek"),
    "text.ppm": (lambda: b"P6\n10 ten\n255\n", "invalid|no image|must be|token|Non-decimal"),
    "nothing.ppm": (lambda: b"P6\n0 0\n255\n", "must be|no image|zero|no room|invalid|tile|greater"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_bad_images_say_why_in_one_line(name: str, tmp_path: Path) -> None:
    make, words = BAD[name]
    path = write(tmp_path / "c" / name, make())
    with pytest.raises(BadImage, match=words) as error:
        VIEW.show(path)
    assert "\n" not in str(error.value)
    assert "0x" not in str(error.value)  # no address of an object: it would differ between runs
    with pytest.raises(DataError, match=r"cannot be read \(.*; copy it again, or leave such images out"):
        list(StreamedSet(listing=open_folder(tmp_path), view=VIEW).batches([slice(0, 1)]))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_every_file_is_shown_counted_or_named(tmp_path: Path) -> None:
    """All of the above in one folder, batches of 5: nothing is lost, and good ones are not harmed."""
    for name, make in GOOD.items():
        write(tmp_path / "good" / name, make())
    for name, (make, _) in BAD.items():
        write(tmp_path / "bad" / name, make())
    os.symlink(tmp_path / "nowhere", tmp_path / "bad" / "dangling.JPEG")
    for other in ("Thumbs.db", "a.txt", "b.JPEG.part", "c.mp4", "noSuffix"):
        write(tmp_path / "good" / other, b"x")
    listing = open_folder(tmp_path)
    assert len(listing) == len(GOOD) + len(BAD) + 1
    assert listing.left_out == tuple(
        f"good/{n}" for n in sorted(["Thumbs.db", "a.txt", "b.JPEG.part", "c.mp4", "noSuffix"])
    )
    slices = [slice(start, min(start + 5, len(listing))) for start in range(0, len(listing), 5)]
    bad: dict[int, str] = {}
    for rows, pixels, reasons in StreamedSet(listing=listing, view=VIEW, on_bad_image="skip").batches(slices):
        bad |= reasons
        for place, row in enumerate(range(rows.start, rows.stop)):
            assert pixels[place].any() == (row not in reasons)
    assert {listing.ids[row] for row in bad} == {f"bad/{name}" for name in (*BAD, "dangling.JPEG")}
    assert bad[listing.ids.index("bad/dangling.JPEG")] == "No such file or directory"


@pytest.mark.timeout(20)
def test_pipes_and_sockets_are_passed_by(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to would wait for ever."""
    link(tmp_path / "c" / "a.JPEG", 1)
    os.mkfifo(tmp_path / "c" / "pipe.JPEG")
    os.symlink(tmp_path / "c" / "pipe.JPEG", tmp_path / "c" / "link to pipe.JPEG")
    os.symlink("/dev/zero", tmp_path / "c" / "device.JPEG")
    (tmp_path / "c" / "folder.JPEG").mkdir()
    here = os.getcwd()
    os.chdir(tmp_path / "c")  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.JPEG")
    finally:
        os.chdir(here)
    listing = open_folder(tmp_path)
    assert listing.ids == ("c/a.JPEG",)
    assert listing.left_out == tuple(
        f"c/{name}" for name in ("device.JPEG", "folder.JPEG", "link to pipe.JPEG", "pipe.JPEG", "socket.JPEG")
    )


def test_loose_and_other_files_are_told_apart(tmp_path: Path) -> None:
    link(tmp_path / "b.JPEG", 1)
    link(tmp_path / "a.png", 1)
    write(tmp_path / "labels.csv", b"x")
    write(tmp_path / ".hidden", b"x")
    tree = scan(tmp_path)
    assert (tree.loose, tree.others, len(tree), tree.classes) == (("a.png", "b.JPEG"), ("labels.csv",), 0, ())


def test_classes_in_an_order_of_ones_own(tmp_path: Path) -> None:
    for name in ("ant", "bee", "cat"):
        link(tmp_path / name / "a.JPEG", 1)
    listing = open_folder(tmp_path, classes=["cat", "dog", "bee", "ant"])
    assert listing.ids == ("cat/a.JPEG", "bee/a.JPEG", "ant/a.JPEG")
    assert listing.labels.tolist() == [0, 2, 3]
    assert listing.classes == ("cat", "dog", "bee", "ant")
    with pytest.raises(DataError, match="ant is the folder of none of the 1 classes, nor are 1 others"):
        open_folder(tmp_path, classes=["bee"])


def test_a_border_leaves_something(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", saved("PNG", Image.new("RGB", (4, 9))))
    assert decode(path, border=1).shape == (7, 2, 3)
    with pytest.raises(BadImage, match="4 x 9 pixels have no room for a border of 2"):
        decode(path, border=2)

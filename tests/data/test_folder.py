"""Folders of images: which files count, what they are called, and torchvision's very pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode

from nsbench.data import pictures
from nsbench.data.folder import open_folder, picture_set, read_folder, read_images
from nsbench.data.pictures import BadImage, center_crop, decode, resized
from nsbench.errors import DataError
from tests.shared import SAMPLES, absent


def picture(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Noise over a slope: every pixel of a wrong resize or crop shows."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 200, width)[None, :, None] + rng.integers(0, 55, (height, width, 3))
    return Image.fromarray(slope.astype(np.uint8)).convert(mode)


def save(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)  # type: ignore[arg-type]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes of the same real layout, and what must not count."""
    root = tmp_path / "set" / "val"
    save(root / "n02" / "b.JPEG", picture(300, 260, 1))
    save(root / "n02" / "a.png", picture(280, 400, 2))
    save(root / "n01" / "z.JPG", picture(257, 257, 3))
    save(root / "n01" / ".hidden.JPEG", picture(50, 50))
    save(root / "n01" / "deeper" / "c.JPEG", picture(50, 50))
    (root / "n01" / "notes.txt").write_text("x")
    (root / "labels.csv").write_text("x")
    save(root / ".thumbnails" / "t.png", picture(9, 9))
    return root


def test_listing(tree: Path) -> None:
    folder = open_folder(tree)
    assert folder.ids == ("n01/z.JPG", "n02/a.png", "n02/b.JPEG")
    assert folder.labels.tolist() == [0, 1, 1]
    assert folder.labels.dtype == np.int64
    assert folder.classes == ("n01", "n02")
    assert folder.name == "set val"
    assert folder.paths[2] == tree / "n02" / "b.JPEG"
    assert not folder.is_imagenet
    assert open_folder(tree, name="mine").name == "mine"


def test_the_order_and_the_labels_are_torchvisions(tree: Path) -> None:
    for name in ("n10", "N3", "n9", "é"):
        save(tree / name / "Z.png", picture(8, 8))
        save(tree / name / "a.Png", picture(8, 8))
    for path in (tree / "n01" / "deeper", tree / "n01" / ".hidden.JPEG", tree / ".thumbnails"):
        path.rename(tree.parent / path.name)  # torchvision counts these; we do not
    theirs = ImageFolder(tree)
    ours = open_folder(tree)
    assert [(str(path), label) for path, label in zip(ours.paths, ours.labels, strict=True)] == theirs.samples
    assert list(ours.classes) == theirs.classes


def test_a_set_made_from_another_has_its_ids(tree: Path) -> None:
    other = tree.parents[1] / "elsewhere"
    for key in open_folder(tree).ids:
        save(other / key, picture(8, 8))
    assert open_folder(other).ids == open_folder(tree).ids


def test_links_to_folders_and_files_count_and_empty_folders_keep_their_class(tree: Path) -> None:
    save(tree.parent / "store" / "n05" / "m.JPEG", picture(8, 8))
    (tree / "n05").symlink_to(tree.parent / "store" / "n05")
    (tree / "n03").mkdir()
    (tree / "n02" / "c.JPEG").symlink_to(tree.parent / "store" / "n05" / "m.JPEG")
    folder = open_folder(tree)
    assert folder.classes == ("n01", "n02", "n03", "n05")
    assert folder.ids[-2:] == ("n02/c.JPEG", "n05/m.JPEG")
    assert folder.labels.tolist() == [0, 1, 1, 1, 3]


def test_a_thousand_wnids_are_imagenet(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"n{number:08}").mkdir()
    save(tmp_path / "n00000007" / "a.png", picture(8, 8))
    folder = open_folder(tmp_path)
    assert folder.is_imagenet
    assert folder.labels.tolist() == [7]
    (tmp_path / "n00000999").rename(tmp_path / "dogs")
    assert not open_folder(tmp_path).is_imagenet


def test_a_limit_goes_round_the_classes(tmp_path: Path) -> None:
    for key in ("a/1", "a/2", "a/3", "b/1", "c/1", "c/2"):
        save(tmp_path / f"{key}.png", picture(8, 8))
    folder = open_folder(tmp_path)
    chosen = {n: " ".join(key[:3] for key in folder.limited(n).ids) for n in (1, 2, 3, 4, 5, 6, 7)}
    assert chosen == {
        1: "a/1",
        2: "a/1 b/1",
        3: "a/1 b/1 c/1",
        4: "a/1 a/2 b/1 c/1",
        5: "a/1 a/2 b/1 c/1 c/2",
        6: "a/1 a/2 a/3 b/1 c/1 c/2",
        7: "a/1 a/2 a/3 b/1 c/1 c/2",
    }
    assert folder.limited(2).labels.tolist() == [0, 1]
    assert folder.limited(2).classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "is not a folder"),
        (lambda root: root.mkdir(), "is empty"),
        (lambda root: (root / "n01").mkdir(parents=True), "none of the 1 folders"),
        (lambda root: save(root / "a.JPEG", picture(8, 8)), "holds 1 images but no class folders"),
        (lambda root: save(root / "val" / "n01" / "a.JPEG", picture(8, 8)), "val may be meant"),
        (lambda root: root.write_text("x"), "is not a folder"),
    ],
)
def test_what_is_no_set_is_one_clear_line(make, words: str, tmp_path: Path) -> None:
    make(tmp_path / "root")
    with pytest.raises(DataError, match=words):
        open_folder(tmp_path / "root")


SIZES = [(256, 256), (500, 375), (375, 500), (257, 300), (301, 256), (1000, 257), (640, 427), (100, 151), (226, 224)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_are_torchvisions_to_the_bit(interpolation: str, tmp_path: Path) -> None:
    for number, size in enumerate(SIZES):
        save(tmp_path / "c" / f"{number}.JPEG", picture(*size, number), quality=92)
    for resize, crop in ((256, 224), (248, 225), (224, 224), (40, 33)):
        theirs = transforms.Compose(
            [transforms.Resize(resize, InterpolationMode(interpolation)), transforms.CenterCrop(crop)]
        )
        expected = np.stack([np.asarray(theirs(image)) for image, _ in ImageFolder(tmp_path)])
        images = read_folder(tmp_path, resize=resize, crop=crop, interpolation=interpolation, workers=3)
        np.testing.assert_array_equal(images.pixels, expected)
        assert images.labels.tolist() == [0] * len(SIZES)


def test_sizes_are_torchvisions() -> None:
    for size in [*SIZES, (333, 1001), (2, 3)]:
        theirs = transforms.Resize(256)(Image.new("RGB", size)).size
        assert resized(size, 256) == theirs


def test_photographs_are_torchvisions_to_the_bit() -> None:
    root = SAMPLES
    if not root.is_dir():
        absent(f"the sample photographs are not at {root} (set NSBENCH_SHARED_DATA)")
    folder = open_folder(root).take(range(0, 1000, 50))
    assert open_folder(root).is_imagenet
    theirs = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    expected = [np.asarray(theirs(Image.open(path).convert("RGB"))) for path in folder.paths]
    images, skipped = read_images(folder)
    np.testing.assert_array_equal(images.pixels, np.stack(expected))
    assert images.ids.tolist() == list(folder.ids)
    assert images.preprocessing == "shorter side resized to 256 (bilinear), middle 224 cropped"
    assert skipped == ()


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1", "LA", "I;16"])
def test_every_mode_becomes_rgb_as_torchvision_converts_it(mode: str, tmp_path: Path) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    path = tmp_path / "c" / f"a.{suffix}"
    image = Image.fromarray(np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)) if mode == "I;16" else None
    save(path, image or picture(40, 30, mode=mode))
    with Image.open(path) as stored:
        assert stored.mode in {mode, "I;16"}
    [(expected, _)] = ImageFolder(tmp_path)
    np.testing.assert_array_equal(decode(path), np.asarray(expected))
    assert decode(path).shape == (30, 40, 3)


def test_the_orientation_tag_is_left_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    save(tmp_path / "plain.png", picture(40, 30))
    save(tmp_path / "turned.png", picture(40, 30), exif=exif)
    with Image.open(tmp_path / "turned.png") as stored:
        assert stored.getexif()[0x0112] == 6
    np.testing.assert_array_equal(decode(tmp_path / "turned.png"), decode(tmp_path / "plain.png"))


def test_decode_does_not_crop(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(300, 100))
    assert decode(tmp_path / "a.png").shape == (100, 300, 3)
    assert decode(tmp_path / "a.png", 50).shape == (50, 150, 3)
    np.testing.assert_array_equal(center_crop(decode(tmp_path / "a.png"), 100), decode(tmp_path / "a.png")[:, 100:200])


def break_one(root: Path) -> None:
    path = root / "n02" / "b.JPEG"
    path.write_bytes(path.read_bytes()[:2000])


def test_broken_images_are_named_and_counted_once(tree: Path) -> None:
    break_one(tree)
    (tree / "n02" / "c.JPEG").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"2 of 4 images cannot be read, first .*n02/b.JPEG \(.*truncated"):
        read_folder(tree)


def test_broken_images_are_skipped_on_request_and_said(tree: Path) -> None:
    whole = read_folder(tree)
    break_one(tree)
    (tree / "n02" / "dangling.JPEG").symlink_to(tree / "nowhere")
    images, skipped = read_images(open_folder(tree), on_bad_image="skip")
    assert skipped == ("n02/b.JPEG", "n02/dangling.JPEG")
    assert images.ids.tolist() == ["n01/z.JPG", "n02/a.png"]
    assert images.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(images.pixels, whole.pixels[:2])
    (tree / "n01" / "z.JPG").write_bytes(b"")
    (tree / "n02" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="4 of 4"):
        read_images(open_folder(tree), on_bad_image="skip")


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "thin.png", picture(4000, 1))
    monkeypatch.setattr(pictures, "MAX_IMAGE_PIXELS", 100_000)
    assert decode(tmp_path / "thin.png").shape == (1, 4000, 3)
    with pytest.raises(BadImage, match="too narrow"):
        decode(tmp_path / "thin.png", 256)
    save(tmp_path / "large.png", picture(400, 300))
    with pytest.raises(BadImage, match="400 x 300 pixels are too many"):
        decode(tmp_path / "large.png")


def test_a_bomb_of_pillows_own_is_a_bad_image(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("1", (20000, 20000)).save(content, "PNG")  # 400 million pixels in 50 kB
    (tmp_path / "bomb.png").write_bytes(content.getvalue())
    with pytest.raises(BadImage, match=r"exceeds|too many"):
        decode(tmp_path / "bomb.png")


def test_a_crop_larger_than_the_image_is_a_bug_of_the_caller(tree: Path) -> None:
    with pytest.raises(ValueError, match="crop 224"):
        read_folder(tree, resize=200)


def test_progress_counts_every_image(tree: Path) -> None:
    from nsbench.track import Progress

    seen = []

    class Watching(Progress):
        def counter(self, title, total, **options):  # type: ignore[override]
            seen.append((title, total))
            return super().counter(title, total, **options)

    read_folder(tree, progress=Watching("none"), limit=2)
    assert seen == [("read set val", 2)]


def test_pictures_are_decoded_when_asked_for_and_not_cropped(tree: Path) -> None:
    folder = open_folder(tree)
    pictures = picture_set(folder)
    cropped = read_folder(tree)
    assert pictures.ids.tolist() == cropped.ids.tolist()
    assert pictures.labels.tolist() == cropped.labels.tolist()
    assert (pictures.size, len(pictures)) == (224, 3)
    assert [pictures.decode(row).shape for row in range(3)] == [(256, 256, 3), (365, 256, 3), (256, 295, 3)]
    for row in range(3):
        np.testing.assert_array_equal(center_crop(pictures.decode(row), 224), cropped.pixels[row])
    break_one(tree)
    with pytest.raises(DataError, match=r"1 of 3 images cannot be read, first .*b.JPEG"):
        pictures.decode(2)


def test_the_fingerprint_is_of_ids_and_contents_not_of_the_place(tree: Path, tmp_path: Path) -> None:
    before = open_folder(tree).fingerprint()
    tree.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    assert open_folder(moved).fingerprint() == before
    pictures = picture_set(open_folder(moved))
    assert pictures.fingerprint == picture_set(open_folder(moved)).fingerprint
    assert pictures.fingerprint != picture_set(open_folder(moved), crop=192).fingerprint
    content = (moved / "n02" / "a.png").read_bytes()
    (moved / "n02" / "a.png").write_bytes(content + b"x")
    assert open_folder(moved).fingerprint() != before
    (moved / "n02" / "a.png").write_bytes(content)
    (moved / "n02" / "a.png").rename(moved / "n02" / "c.png")
    assert open_folder(moved).fingerprint() != before

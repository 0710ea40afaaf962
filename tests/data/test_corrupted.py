"""ImageNet-C, -C-bar and -P as they unpack: which cells there are, at which size, and under which labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsbench.corruptions.filming import num_frames
from nsbench.data.corrupted import C_BAR_STRENGTHS, open_imagenet_c, open_imagenet_c_bar, open_imagenet_p
from nsbench.data.pictures import View
from nsbench.errors import DataError
from nsbench.metrics.reference import CORRUPTIONS, EXTRA_CORRUPTIONS, EXTRA_PERTURBATIONS, PERTURBATIONS
from tests.data.layouts import WNIDS, corruption_cell, link, write

FAMILIES = {
    "noise": CORRUPTIONS[:3],
    "blur": CORRUPTIONS[3:7],
    "weather": CORRUPTIONS[7:11],
    "digital": CORRUPTIONS[11:],
    "extra": EXTRA_CORRUPTIONS,
}
"""The archives of zenodo.org/records/2235448."""


@pytest.mark.parametrize("family_folders", [True, False])
def test_all_cells_are_found_with_and_without_the_archives_folders(family_folders: bool, tmp_path: Path) -> None:
    for family, names in FAMILIES.items():
        for name in names:
            for severity in range(1, 6):
                parent = tmp_path / family if family_folders else tmp_path
                (parent / name / str(severity) / WNIDS[3]).mkdir(parents=True)
    write(tmp_path / "README.md", "x")
    tree = open_imagenet_c(tmp_path)
    assert tree.cells == tuple(f"{n}-{s}" for n in (*CORRUPTIONS, *EXTRA_CORRUPTIONS) for s in range(1, 6))
    assert tree.absent(CORRUPTIONS) == ()
    assert tree.name == "imagenet-c"


def test_a_partial_download_is_said_cell_by_cell(tmp_path: Path) -> None:
    for severity in (1, 2, 4):
        corruption_cell(tmp_path / "blur" / "zoom_blur" / str(severity), [0])
    (tmp_path / "zoom_blur.tar.part").write_bytes(b"x")
    tree = open_imagenet_c(tmp_path)
    assert tree.cells == ("zoom_blur-1", "zoom_blur-2", "zoom_blur-4")
    assert tree.absent(["zoom_blur"]) == ("zoom_blur-3", "zoom_blur-5")
    assert len(tree.absent(CORRUPTIONS)) == 72
    with pytest.raises(DataError, match=r"has no zoom_blur-3; did you mean 'zoom_blur-\d'"):
        tree.listing("zoom_blur-3")


def test_a_cell_has_vals_ids_and_imagenets_indices(tmp_path: Path) -> None:
    corruption_cell(tmp_path / "fog" / "5", [700, 3])
    listing = open_imagenet_c(tmp_path).listing("fog-5")
    assert listing.ids == (f"{WNIDS[3]}/ILSVRC2012_val_00000004.JPEG", f"{WNIDS[700]}/ILSVRC2012_val_00000701.JPEG")
    assert listing.labels.tolist() == [3, 700]
    assert listing.classes == WNIDS
    assert listing.name == "imagenet-c fog-5"


def test_cells_of_ones_own_classes_count_as_val_does(tmp_path: Path) -> None:
    link(tmp_path / "fog" / "1" / "cat" / "a.JPEG", 281)
    tree = open_imagenet_c(tmp_path)
    assert tree.listing("fog-1").labels.tolist() == [0]
    assert tree.listing("fog-1", classes=("ant", "bee", "cat")).labels.tolist() == [2]
    with pytest.raises(DataError, match="fog/1/cat is the folder of none of the 2 classes"):
        tree.listing("fog-1", classes=("ant", "bee"))


@pytest.mark.parametrize("side", [224, 299, 64])
def test_the_size_is_told_from_the_files(side: int, tmp_path: Path) -> None:
    if side > 256:
        corruption_cell(tmp_path / "snow" / "1", [0], side)
    else:
        for cell in ("snow/1", "snow/2", "fog/1"):
            corruption_cell(tmp_path / cell, [0, 5], side)
    tree = open_imagenet_c(tmp_path)
    assert tree.size == side
    assert View(size=tree.size, resize=None).show(tree.listing("snow-1").stored(0)).shape == (side, side, 3)


def test_sizes_are_not_mixed(tmp_path: Path) -> None:
    corruption_cell(tmp_path / "snow" / "1", [0])
    corruption_cell(tmp_path / "fog" / "3", [0], 299)
    with pytest.raises(DataError, match=r"mixes images of 224 px \(snow-1\) and of 299 px \(fog-3\)"):
        _ = open_imagenet_c(tmp_path).size


def twice(root: Path) -> None:
    corruption_cell(root / "fog" / "1", [0])
    corruption_cell(root / "weather" / "fog" / "1", [0])


def no_severities(root: Path) -> None:
    corruption_cell(root / "fog", [0])


def misspelt(root: Path) -> None:
    corruption_cell(root / "gausian_noise" / "1", [0])


def not_square(root: Path) -> None:
    link(root / "fog" / "1" / WNIDS[0] / "a.JPEG", 0)


def no_images(root: Path) -> None:
    (root / "fog" / "1" / WNIDS[0]).mkdir(parents=True)


def broken(root: Path) -> None:
    write(root / "fog" / "1" / WNIDS[0] / "a.JPEG", b"<html>")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (twice, "holds fog twice: .*weather/fog; remove one"),
        (no_severities, "no folders 1 to 5 of severities"),
        (misspelt, "none of the folders gaussian_noise, .* did you mean 'gaussian_noise'"),
        (not_square, "are square"),
        (no_images, "holds no images"),
        (broken, "a.JPEG is no image of a known format"),
        (lambda _: None, "holds none of the folders"),
    ],
)
def test_trees_that_are_no_imagenet_c_are_one_line(make, words: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=words) as error:
        _ = open_imagenet_c(tmp_path).size
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("generated", [True, False])
def test_c_bars_severities_are_numbers_or_the_scripts_strengths(generated: bool, tmp_path: Path) -> None:
    for name, strengths in C_BAR_STRENGTHS.items():
        for severity, strength in enumerate(strengths, 1):
            link(tmp_path / name / (f"{strength:.2f}" if generated else str(severity)) / WNIDS[0] / "a.JPEG", 0)
    tree = open_imagenet_c_bar(tmp_path)
    assert len(tree.cells) == 50
    assert tree.absent(C_BAR_STRENGTHS) == ()
    assert tree.folders["inverse_sparkles-4"] == tmp_path / "inverse_sparkles" / ("9.00" if generated else "4")
    assert tree.folders["inverse_sparkles-5"] == tmp_path / "inverse_sparkles" / ("10.00" if generated else "5")
    assert len(tree.listing("plasma_noise-2")) == 1


@pytest.mark.parametrize("family_folders", [True, False])
def test_perturbations_and_difficulties_are_found(family_folders: bool, tmp_path: Path) -> None:
    for name in (*PERTURBATIONS, *EXTRA_PERTURBATIONS, "gaussian_noise_2", "shot_noise_3"):
        parent = tmp_path / ("noise" if "noise" in name else "rest") if family_folders else tmp_path
        write(parent / name / WNIDS[0] / "ILSVRC2012_val_00000293.mp4", b"x")
    tree = open_imagenet_p(tmp_path)
    assert tree.cells == (*PERTURBATIONS, *EXTRA_PERTURBATIONS, "gaussian_noise_2", "shot_noise_3")
    assert tree.absent(PERTURBATIONS) == ()
    for cell in (*PERTURBATIONS, *EXTRA_PERTURBATIONS):
        listing = tree.listing(cell)
        assert listing.num_frames == num_frames(cell, 224)
        assert listing.ids == (f"{WNIDS[0]}/ILSVRC2012_val_00000293.mp4",)
        assert listing.classes == WNIDS
    assert tree.clips("tilt").num_frames == 31
    with pytest.raises(DataError, match="has no tillt; did you mean 'tilt'"):
        tree.clips("tillt")

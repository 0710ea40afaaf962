"""Each corruption at severities 1, 3 and 5, one image a corruption, with what every model says."""

from __future__ import annotations

from nsbench.evals.computed import corrupted
from nsbench.evals.imagenet_c import base_images
from nsbench.files import derive_seed
from nsbench.metrics.reference import CORRUPTIONS
from nsbench.samples.album import Album, Pixels
from nsbench.samples.gallery import Gallery, one_image

_SEVERITIES = (1, 3, 5)


def add_corrupted(album: Album, gallery: Gallery) -> None:
    """A picture for each corruption and severity that some model answered."""
    album.group("corruptions", "Each corruption at severities 1, 3 and 5")
    for number, corruption in enumerate(CORRUPTIONS):
        answers = {severity: gallery.answers("imagenet-c", f"{corruption}-{severity}") for severity in _SEVERITIES}
        ids = next((arrays["ids"] for cells in answers.values() for arrays in cells.values()), ())
        if not len(ids):
            continue
        image = str(ids[derive_seed("sample", number) % len(ids)])
        for severity, cells in answers.items():
            if not (predictions := gallery.predictions(cells, image)):
                continue
            arrays = next(iter(cells.values()))
            label = int(arrays["labels"][arrays["ids"] == image][0]) if image in arrays["ids"] else -1
            album.add(
                _pixels(gallery, corruption, severity, image),
                f"{corruption.replace('_', ' ')}, severity {severity}",
                subset=corruption,
                level=str(severity),
                truth=gallery.name(label) if label >= 0 else "",
                predictions=predictions,
            )


def _pixels(gallery: Gallery, corruption: str, severity: int, image: str) -> Pixels:
    """The image as it was answered: a released file, or made anew from the clean one."""
    sets, config = gallery.context.sets, gallery.context.config
    if "imagenet-c" in sets:
        released: Pixels = one_image(sets["imagenet-c"].open(f"{corruption}-{severity}"), image).pixels[0]
        return released
    base = base_images(sets)
    assert base is not None  # its cells were answered
    pixels: Pixels = corrupted(one_image(base, image), corruption, severity, config)[0]
    return pixels

"""Sample pictures of a run as records, picture files and `samples.json`: the report needs neither data nor torch.

Chosen by rule from the records alone, so that the same run always shows the same pictures.
"""

from __future__ import annotations

from nsbench.samples.album import Album
from nsbench.samples.attacked import add_attacked
from nsbench.samples.corrupted import add_corrupted
from nsbench.samples.filmed import add_films
from nsbench.samples.gallery import Gallery
from nsbench.samples.labelled import Labels, add_labelled

__all__ = ["Gallery", "Labels", "write_samples"]


def write_samples(gallery: Gallery, labels: Labels | None = None) -> None:
    """Write the pictures of a finished run in place of those that there are.

    Args:
        gallery: the models, and what they were shown.
        labels: pseudo-labels of the last student, of a self-training run.

    Raises:
        DataError: an image that was measured can no longer be read.
    """
    album = Album(gallery.folder)
    add_corrupted(album, gallery)
    add_attacked(album, gallery)
    add_films(album, gallery)
    if labels is not None:
        add_labelled(album, labels, gallery.names)
    album.write()

"""Part CIFAR-10 into what the evidence runs train and measure on, as Parquet files.

    python -m benchmarks.cifar_parts ../shared/data/cifar10 DATA

Of the 50,000 training images, for every class: 100 for choices (`dev`), 400 for the reference classifier, 1,000
candidates for the natural-adversarial split. The other 3,500 are `train`: the run's seed draws 400 of them whose labels
are used and leaves 3,100 without. The 10,000 test images are `val`. The reference classifier shares neither data
nor architecture with any generation: a logistic regression on histograms of oriented gradients. What it gets wrong of
the candidates is `natural-adversarial`, what it gets right is `complement`; of the images for choices likewise.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from nsbench.files import derive_seed

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FIXED_PER_CLASS = {"dev": 100, "reference": 400, "candidates": 1000}
"""Images a class of what is not trained on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of train.parquet and test.parquet")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    train, test = (pq.read_table(options.source / f"{split}.parquet") for split in ("train", "test"))
    labels = train["label"].to_numpy()
    parts = fixed_parts(labels)
    write(test, np.arange(len(test)), options.out / "val.parquet")
    write(train, parts["dev"], options.out / "dev" / "val.parquet")
    model = fit_reference(train, parts["reference"])
    for part, folder in (("candidates", options.out), ("dev", options.out / "dev")):
        rows = parts[part]
        right = model.predict(descriptors(train, rows)) == labels[rows]
        print(f"the reference classifier has {right.mean():.1%} of {len(rows):,} {part} right")
        write(train, rows[~right], folder / "natural-adversarial.parquet")
        write(train, rows[right], folder / "complement.parquet")
    left = np.setdiff1d(np.arange(len(labels)), np.concatenate(list(parts.values())))
    write(train, left, options.out / "train.parquet")


def fixed_parts(labels: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    """Rows of each part, disjoint."""
    free, parts = np.arange(len(labels)), {}
    for part, count in FIXED_PER_CLASS.items():
        parts[part] = draw(labels, free, count, part)
        free = np.setdiff1d(free, parts[part])
    return parts


def draw(labels: npt.NDArray[np.int64], free: npt.NDArray[np.int64], count: int, part: str) -> npt.NDArray[np.int64]:
    """So many of the free rows of each class, sorted."""
    rng = np.random.Generator(np.random.Philox(derive_seed("cifar10", part)))
    drawn = [rng.permutation(free[labels[free] == label])[:count] for label in range(len(CLASSES))]
    return np.sort(np.concatenate(drawn))


def fit_reference(table: pa.Table, rows: npt.NDArray[np.int64]) -> Any:
    """The reference classifier."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    return model.fit(descriptors(table, rows), table["label"].to_numpy()[rows])


def descriptors(table: pa.Table, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Histograms of oriented gradients of the images [N, 32, 32, 3]: float64 [N, D]."""
    from skimage.feature import hog

    stored = table["image"].take(pa.array(rows)).combine_chunks().field("bytes").to_pylist()
    pictures = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in stored]
    return np.stack(
        [hog(picture, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=-1) for picture in pictures]
    )


def write(table: pa.Table, rows: npt.NDArray[np.int64], path: Path) -> None:
    """The rows as a Parquet file whose class names are where `datasets` keeps them."""
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    kept = table.take(pa.array(rows)).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(kept, path, row_group_size=1000)
    print(f"{path}: {len(rows):,} images")


if __name__ == "__main__":
    main()

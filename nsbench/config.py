"""One frozen configuration. Defaults live here and nowhere else; `nsbench.configfile` reads what overrides them."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from nsbench.errors import require
from nsbench.trainingconfig import (
    FixResConfig,
    ModelConfig,
    NoiseConfig,
    SelectConfig,
    TeacherConfig,
    TrainConfig,
    of_generation,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data set and how it is parted."""

    dataset: Literal["mnist5k", "svhn", "files"] = "mnist5k"
    """`mnist5k` is embedded; `svhn` reads the published .mat files in `dir`; `files` is what the paths below name."""
    title: str = ""
    """The data set's name for people, of `files`."""
    dir: str = ""
    """Folder of the data (`--data-dir`). Relative paths below lie in it; so do `nsbench eval`'s suites for ImageNet."""
    labelled: str = ""
    """`files`: labelled images, as class folders, Parquet or Arrow files (Hugging Face), or WebDataset tars."""
    unlabelled: tuple[str, ...] = ()
    """`files`: unlabelled images in the same forms, or folders without classes; labels they may have are not used."""
    val: str = ""
    """`files`: held-out test images; empty: what `nsbench eval` finds in `dir`."""
    natural_adversarial: str = ""
    """`files` with `image_px`: test images that an independent classifier got wrong, measured in ImageNet-A's place."""
    complement: str = ""
    """`files` with `image_px`: those that it got right, measured beside them."""
    labelled_per_class: int = 0
    """Labelled images a class, drawn by the run's seed; 0: all (`mnist5k`: 10)."""
    rest_unlabelled: bool = False
    """`files`: labelled images that were not drawn join the unlabelled ones, without their labels."""
    image_px: int = 0
    """`files`: side of the images where all are held in memory (32 for CIFAR-10); 0: photographs, read as they come."""
    shard_images: int = 10_000
    """Images of one shard of what is not sharded on disk: a shard is labelled, resumed and mixed as a whole."""
    window_shards: int = 16
    """Shards whose images are mixed with one another on the way into batches."""
    on_bad_image: Literal["error", "skip"] = "error"
    """An image that cannot be read: `error` stops; `skip` never selects it, and shows another labelled one instead."""
    unlabelled_largest: int = 350
    """`mnist5k`: unlabelled digits of the most frequent class."""
    unlabelled_smallest: int = 117
    """`mnist5k`: unlabelled digits of the rarest class; the classes between fall geometrically."""
    other_domain: bool = True
    """`mnist5k`: add scikit-learn's 1,797 digits of another domain to the unlabelled pool."""
    out_of_domain: int = 300
    """`mnist5k`: crops of photographs without a digit in the unlabelled pool."""
    eval_split: Literal["val", "dev"] = "val"
    """`dev` for choices of the recipe; `val` is for results alone."""
    cache_dir: str = ""
    """Where decoded and corrupted images and the places of images in tars are kept; empty: `.cache` beside the run
    folder."""

    def __post_init__(self) -> None:
        require(self.labelled_per_class >= 0, "data.labelled_per_class must be 0 or more")
        require(
            self.dataset != "mnist5k" or self.labelled_per_class <= 10,
            f"data.labelled_per_class is {self.labelled_per_class}; mnist5k has at most 10",
        )
        for name in ("shard_images", "window_shards"):
            require(getattr(self, name) > 0, f"data.{name} is {getattr(self, name)}; it must be 1 or more")
        require(self.image_px >= 0, f"data.image_px is {self.image_px}; it must be 0 or more")
        require(self.dataset != "files" or self.labelled != "", "data.labelled names no images; give their path")
        for name in ("natural_adversarial", "complement"):
            require(
                not getattr(self, name) or (self.dataset == "files" and self.image_px > 0),
                f"data.{name} is for small images in memory; set data.image_px, or leave it out",
            )
        require(
            self.dataset != "svhn" or self.dir != "", "svhn needs data.dir (--data-dir), the folder of its .mat files"
        )
        require(
            0 <= self.unlabelled_smallest <= self.unlabelled_largest <= 350,
            "data.unlabelled_smallest and unlabelled_largest must satisfy 0 <= smallest <= largest <= 350",
        )
        require(0 <= self.out_of_domain <= 300, "data.out_of_domain must be in 0..300")
        require(self.eval_split in ("val", "dev"), f"data.eval_split is {self.eval_split!r}; known: 'val', 'dev'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What is measured, and how."""

    evals: tuple[str, ...] = ("imagenet", "imagenet-a", "imagenet-c", "imagenet-p", "fgsm", "attacks")
    """Names of `nsbench ls evals`, or `all`: every one whose images are there."""
    batch_size: int = 128
    """Images of one forward pass; part of the protocol, since it moves the last bits of logits."""
    amp: Literal["off", "bf16"] = "off"
    """Arithmetic of forward passes, but for P and attacks, which are always fp32. `bf16` is marked in every protocol:
    it moves about one prediction in 200."""
    channels_last: bool = True
    """Memory layout of the model and its images; moves last bits."""
    compile: bool = False
    """torch.compile the model; moves last bits."""
    limit: int = 0
    """At most so many images of each set, the first of every class first; 0: all. Everything is then marked partial."""
    subset: str = ""
    """Images that are measured of val, C and P: `robustbench-5k`, or a text file of ids, one a line. Marked partial."""
    on_bad_image: Literal["error", "skip"] = "error"
    """An image that cannot be read: `error` stops its cell; `skip` leaves it out, and names and counts it."""
    extra_corruptions: bool = False
    """Compute the four corruptions that are no part of mCE as well; released ones are taken where they are."""
    corruption_source: Literal["auto", "device-jpeg85", "device-memory", "imagecorruptions"] = "auto"
    """How corrupted images are made where the released files are absent. `device-jpeg85`: as the authors saved them,
    through JPEG of quality 85; `device-memory`: without it, as CIFAR-10-C; `auto`: the one of these that the authors
    chose for the size (`device-memory` at 32 px); `imagecorruptions`: by that library."""
    data_seed: int = 0
    """Seed of corrupted pixels and of the random-sign control; never the run's seed."""
    epsilons_px: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    """FGSM step sizes in 1/255 (the paper's: 0, 2, 4, 8, 16; its scale is inferred)."""
    pgd_epsilons_px: tuple[float, ...] = (4.0, 16.0)
    """Radii of the PGD checks in 1/255 (the paper's: 16)."""
    pgd_steps: int = 10
    """Iterations of PGD."""
    torchattacks: tuple[str, ...] = ()
    """Further attacks of the `attacks` eval, by torchattacks' class names, such as AutoAttack; L-infinity ones at
    `torchattacks_epsilon_px`, the others with torchattacks' own defaults."""
    torchattacks_epsilon_px: float = 4.0
    """Radius of `torchattacks` in 1/255 (RobustBench's for ImageNet: 4)."""
    perturbation_images: int = 200
    """Images that ImageNet-P sequences are filmed of where the released clips are absent."""
    replicates: int = 1000
    """Bootstrap replicates behind an interval."""
    samples: bool = True
    """Keep sample pictures for the report; does not change a number."""

    def __post_init__(self) -> None:
        require(len(self.evals) > 0, "eval.evals is empty; name at least one of `nsbench ls evals`")
        for name in ("batch_size", "pgd_steps", "perturbation_images", "replicates"):
            require(getattr(self, name) > 0, f"eval.{name} is {getattr(self, name)}; it must be 1 or more")
        require(self.limit >= 0, f"eval.limit is {self.limit}; it must be 0 or more")
        for name in ("evals", "epsilons_px", "pgd_epsilons_px", "torchattacks"):
            values = [f"{v:g}" if isinstance(v, float) else v for v in getattr(self, name)]
            require(len(set(values)) == len(values), f"eval.{name} names a value twice")
        for name in ("epsilons_px", "pgd_epsilons_px"):
            require(all(0 <= eps <= 255 for eps in getattr(self, name)), f"eval.{name} must be in 0..255")
        require(0 <= self.torchattacks_epsilon_px <= 255, "eval.torchattacks_epsilon_px must be in 0..255")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a run's numbers, and a little that decides its speed."""

    preset: str = "mnist5k"
    """Name of the preset it came from; names the run folder."""
    ablation: str = ""
    """Name of the ablation that was applied, if any."""
    seed: int = 0
    """Seed of the labelled and unlabelled draw and of training."""
    generations: int = 3
    """Students trained one after the other; the teacher is generation 0."""
    control: bool = True
    """Train the last student's architecture, noise and steps on the labelled images alone."""
    device: str = "auto"
    """torch device; `auto`: CUDA where there is one."""
    threads: int = 1
    """Threads of torch on the CPU; part of the protocol, since it moves the last bits."""
    workers: int = 1
    """Processes that read and augment images; does not change a number."""
    track: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where training's curves are shown besides `metrics.jsonl`: TensorBoard, from `tensorboard/` in the run folder,
    and Weights & Biases, where its own settings say (WANDB_MODE=offline: nowhere else). Does not change a number."""
    models: tuple[ModelConfig, ...] = (ModelConfig(),)
    """Architecture of generation 0, 1, ...; the last one repeats."""
    data: DataConfig = DataConfig()
    noise: NoiseConfig = NoiseConfig()
    train: TrainConfig = TrainConfig()
    teacher: TeacherConfig = TeacherConfig()
    select: SelectConfig = SelectConfig()
    fixres: FixResConfig = FixResConfig()
    eval: EvalConfig = EvalConfig()

    def __post_init__(self) -> None:
        require(self.generations >= 0, f"generations is {self.generations}; it must be 0 or more")
        require(self.seed >= 0, f"seed is {self.seed}; it must be 0 or more")
        require(self.threads > 0, f"threads is {self.threads}; it must be 1 or more")
        require(self.workers >= 0, f"workers is {self.workers}; it must be 0 or more")
        for name in ("preset", "ablation"):
            require(
                re.fullmatch(r"[\w.-]*", getattr(self, name)) is not None and ".." not in getattr(self, name),
                f"{name} is {getattr(self, name)!r}; it names the run folder: letters, digits, '.', '_' and '-' only",
            )
        require(len(self.models) > 0, "models is empty; name at least one architecture")
        for number in range(1, self.generations + 1 if self.train.init == "teacher" else 1):
            student, teacher = self.model(number), self.model(number - 1)
            require(
                (student.name, student.kwargs) == (teacher.name, teacher.kwargs),
                f"train.init = 'teacher' needs one architecture, but generation {number} is {student.label} and its "
                f"teacher {teacher.label}; use 'scratch', or name one model",
            )

    def model(self, generation: int) -> ModelConfig:
        """Architecture of a generation; the last entry of `models` repeats."""
        return of_generation(self.models, generation)

    @property
    def recipe(self) -> str:
        """Name of the method: the ablation, or plain Noisy Student."""
        return self.ablation or "noisy-student"

    @property
    def run_name(self) -> str:
        """Default name of the run folder."""
        parts = (self.preset, self.ablation, f"seed{self.seed}" if self.seed else "")
        return "-".join(part for part in parts if part)

"""One frozen configuration. Defaults live here and nowhere else; `nsbench.configfile` reads what overrides them."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from nsbench.errors import ConfigError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One architecture: any timm model with its own noise rates."""

    name: str = "resnet50"
    """timm model name."""
    label: str = ""
    """Name in tables; the timm name where empty."""
    drop_rate: float = 0.0
    """Dropout before the classifier, in training (paper: 0.5 for B7 and larger)."""
    drop_path_rate: float = 0.0
    """Drop rate of the last residual block, linear from 0: survival 0.8 in the paper is 0.2 here."""
    stem_pool: bool = True
    """False replaces a ResNet stem's max-pool by the identity, for 32 px images."""
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further arguments of `timm.create_model`."""

    def __post_init__(self) -> None:
        for rate in ("drop_rate", "drop_path_rate"):
            _require(0 <= getattr(self, rate) < 1, f"models.{rate} is {getattr(self, rate)}; it must be in [0, 1)")
        if not self.label:
            object.__setattr__(self, "label", self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data set and how it is parted."""

    dataset: str = "mnist5k"
    """Name of the data set; `mnist5k` is embedded."""
    labelled_per_class: int = 10
    """Labelled images a class, drawn by the run's seed."""
    unlabelled_largest: int = 350
    """Unlabelled digits of the most frequent class."""
    unlabelled_smallest: int = 117
    """Unlabelled digits of the rarest class; the classes between fall geometrically."""
    other_domain: bool = True
    """Add scikit-learn's 1,797 digits of another domain to the unlabelled pool."""
    out_of_domain: int = 300
    """Crops of photographs without a digit in the unlabelled pool."""
    eval_split: Literal["val", "dev"] = "val"
    """`dev` for choices of the recipe; `val` is for results alone."""
    cache_dir: str = ""
    """Where corrupted images are kept; empty: `.cache` beside the run folder."""

    def __post_init__(self) -> None:
        _require(self.dataset == "mnist5k", f"data.dataset is {self.dataset!r}; known: 'mnist5k'")
        _require(1 <= self.labelled_per_class <= 10, "data.labelled_per_class must be in 1..10")
        _require(
            0 <= self.unlabelled_smallest <= self.unlabelled_largest <= 350,
            "data.unlabelled_smallest and unlabelled_largest must satisfy 0 <= smallest <= largest <= 350",
        )
        _require(0 <= self.out_of_domain <= 300, "data.out_of_domain must be in 0..300")
        _require(self.eval_split in ("val", "dev"), f"data.eval_split is {self.eval_split!r}; known: 'val', 'dev'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Noise on the images of a student; model noise is in `ModelConfig`."""

    num_ops: int = 2
    """RandAugment's N: operations an image (0 switches it off)."""
    magnitude: float = 27.0
    """RandAugment's M on the paper's 0-10 scale, extrapolated above 10 (27 for B7 and larger)."""
    translate_px: float = 100.0
    """Translation at magnitude 10 (official: 100 at ImageNet sizes, 4 at 32 px)."""
    cutout_px: float = 40.0
    """Half side of RandAugment's Cutout at magnitude 10 (official: 40, and 4 at 32 px)."""
    always_cutout_px: int = 0
    """Side of a grey square cut out of every image (official small-image recipe: 16); 0 is off."""
    crop_padding_px: int = 4
    """Reflect padding before a random crop of the original size; 0 is off."""
    flip: bool = True
    """Random horizontal flip; off for digits."""
    on_labelled: bool = True
    """Noise (image and model) on labelled images of students and control."""
    on_unlabelled: bool = True
    """Noise (image and model) on unlabelled images."""

    def __post_init__(self) -> None:
        _require(self.num_ops >= 0, f"noise.num_ops is {self.num_ops}; it must be 0 or more")
        _require(0 <= self.magnitude <= 30, f"noise.magnitude is {self.magnitude}; it must be in 0..30")
        for name in ("always_cutout_px", "crop_padding_px", "translate_px", "cutout_px"):
            _require(getattr(self, name) >= 0, f"noise.{name} is {getattr(self, name)}; it must be 0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run; the same for every generation but for the teacher's batch and steps."""

    steps: int = 109_474
    """Steps of each student and of the control (paper: 350 epochs at batch 4096)."""
    teacher_steps: int = 0
    """Steps of generation 0; 0 means `steps`."""
    labelled_batch: int = 2048
    """Labelled images a step (paper: 2048)."""
    teacher_batch: int = 0
    """Labelled images a step of generation 0; 0 means `labelled_batch`."""
    unlabelled_ratio: int = 14
    """Unlabelled images for one labelled image in a student's batch (paper: 14 for L2)."""
    optimizer: str = "rmsproptf"
    """timm optimizer name (paper: RMSProp as TensorFlow has it)."""
    learning_rate: float = 0.128
    """Peak learning rate (paper: 0.128 at batch 2048)."""
    momentum: float = 0.9
    """Momentum of SGD and RMSProp."""
    weight_decay: float = 1e-5
    """L2 on weights, not on normalisation or biases."""
    schedule: Literal["staircase", "cosine"] = "staircase"
    """`staircase`: x0.97 every `decay_steps`; `cosine`: to zero at the last step."""
    decay_steps: int = 751
    """Steps of one stair (paper: 2.4 epochs)."""
    warmup_steps: int = 1564
    """Linear warm-up from 0 (paper: 5 epochs)."""
    label_smoothing: float = 0.1
    """On labelled images and on hard pseudo-labels, never on soft ones."""
    loss: Literal["algorithm1", "concat_mean", "code"] = "code"
    """`algorithm1`: mean + mean; `concat_mean`: one mean; `code`: sum over the labelled count (official code)."""
    pseudo_labels: Literal["soft", "hard"] = "soft"
    """Soft: the teacher's distribution; hard: its argmax."""
    temperature: float = 1.0
    """Temperature of soft labels: p^(1/T), renormalised."""
    ema_decay: float = 0.9999
    """Decay of the weight average that labels and is evaluated; warmed up as (1+t)/(10+t). 0: raw weights."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 is off."""
    checkpoint_seconds: float = 15.0
    """Seconds between saved states; a kill costs at most about this much."""

    def __post_init__(self) -> None:
        for name in ("steps", "labelled_batch"):
            _require(getattr(self, name) > 0, f"train.{name} is {getattr(self, name)}; it must be 1 or more")
        for name in (
            "teacher_steps", "teacher_batch", "unlabelled_ratio", "warmup_steps", "weight_decay", "clip_norm",
            "momentum", "checkpoint_seconds",
        ):  # fmt: skip
            _require(getattr(self, name) >= 0, f"train.{name} is {getattr(self, name)}; it must be 0 or more")
        _require(0 < self.learning_rate < math.inf, f"train.learning_rate is {self.learning_rate}; it must be above 0")
        _require(self.temperature > 0, f"train.temperature is {self.temperature}; it must be above 0")
        _require(0 <= self.ema_decay < 1, f"train.ema_decay is {self.ema_decay}; it must be in [0, 1)")
        _require(0 <= self.label_smoothing < 1, "train.label_smoothing must be in [0, 1)")
        _require(self.decay_steps > 0, f"train.decay_steps is {self.decay_steps}; it must be 1 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """Which pseudo-labelled images a student sees, and how often."""

    min_confidence: float = 0.3
    """Drop images whose largest probability is below (paper: 0.3)."""
    balance: Literal["off", "cap", "duplicate"] = "duplicate"
    """`cap`: the most confident `per_class` a class; `duplicate`: also repeat images of small classes up to it."""
    per_class: int = 0
    """Quota a class (paper: 130,000); 0: kept images / classes."""

    def __post_init__(self) -> None:
        _require(0 <= self.min_confidence <= 1, "select.min_confidence must be in 0..1")
        _require(self.per_class >= 0, f"select.per_class is {self.per_class}; it must be 0 or more")


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

    def __post_init__(self) -> None:
        _require(len(self.evals) > 0, "eval.evals is empty; name at least one of `nsbench ls evals`")
        for name in ("batch_size", "pgd_steps", "perturbation_images", "replicates"):
            _require(getattr(self, name) > 0, f"eval.{name} is {getattr(self, name)}; it must be 1 or more")
        _require(self.limit >= 0, f"eval.limit is {self.limit}; it must be 0 or more")
        for name in ("evals", "epsilons_px", "pgd_epsilons_px", "torchattacks"):
            values = [f"{v:g}" if isinstance(v, float) else v for v in getattr(self, name)]
            _require(len(set(values)) == len(values), f"eval.{name} names a value twice")
        for name in ("epsilons_px", "pgd_epsilons_px"):
            _require(all(0 <= eps <= 255 for eps in getattr(self, name)), f"eval.{name} must be in 0..255")
        _require(0 <= self.torchattacks_epsilon_px <= 255, "eval.torchattacks_epsilon_px must be in 0..255")


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
    models: tuple[ModelConfig, ...] = (ModelConfig(),)
    """Architecture of generation 0, 1, ...; the last one repeats."""
    data: DataConfig = DataConfig()
    noise: NoiseConfig = NoiseConfig()
    train: TrainConfig = TrainConfig()
    select: SelectConfig = SelectConfig()
    eval: EvalConfig = EvalConfig()

    def __post_init__(self) -> None:
        _require(self.generations >= 0, f"generations is {self.generations}; it must be 0 or more")
        _require(self.seed >= 0, f"seed is {self.seed}; it must be 0 or more")
        _require(self.threads > 0, f"threads is {self.threads}; it must be 1 or more")
        _require(self.workers >= 0, f"workers is {self.workers}; it must be 0 or more")
        for name in ("preset", "ablation"):
            _require(
                re.fullmatch(r"[\w.-]*", getattr(self, name)) is not None and ".." not in getattr(self, name),
                f"{name} is {getattr(self, name)!r}; it names the run folder: letters, digits, '.', '_' and '-' only",
            )
        _require(len(self.models) > 0, "models is empty; name at least one architecture")

    def model(self, generation: int) -> ModelConfig:
        """Architecture of a generation; the last entry of `models` repeats."""
        return self.models[min(generation, len(self.models) - 1)]

    @property
    def recipe(self) -> str:
        """Name of the method: the ablation, or plain Noisy Student."""
        return self.ablation or "noisy-student"

    @property
    def run_name(self) -> str:
        """Default name of the run folder."""
        parts = (self.preset, self.ablation, f"seed{self.seed}" if self.seed else "")
        return "-".join(part for part in parts if part)

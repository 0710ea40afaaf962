"""The frozen configuration of self-training: architectures, noise, one training run, teacher, selection, FixRes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from nsbench.errors import require

T = TypeVar("T")

Where = Literal["both", "labelled", "unlabelled", "none"]
"""Which images of a student's batch get one kind of noise."""

LossKind = Literal["algorithm1", "concat_mean", "code"]


def of_generation(values: Sequence[T], generation: int) -> T:
    """The entry of a generation; the last one repeats."""
    return values[min(generation, len(values) - 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One architecture: any timm model with its own noise rates and resolution."""

    name: str = "resnet50"
    """timm model name."""
    label: str = ""
    """Name in tables; the timm name where empty."""
    drop_rate: float = 0.0
    """Dropout before the classifier, in training (paper: 0.2 for B0 to 0.5 for B6 and larger)."""
    drop_path_rate: float = 0.0
    """Drop rate of the last residual block, linear from 0: survival 0.8 in the paper is 0.2 here."""
    input_px: int = 0
    """Side of the images that it is trained on, labels at and is measured at; 0: the data set's own size."""
    small_image: bool = False
    """Stages 2 and 3 of an EfficientNet keep their resolution, for 32 px images (official `small_image_model`)."""
    stem_pool: bool = True
    """False replaces a ResNet stem's max-pool by the identity, for 32 px images."""
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further arguments of `timm.create_model`."""

    def __post_init__(self) -> None:
        for rate in ("drop_rate", "drop_path_rate"):
            require(0 <= getattr(self, rate) < 1, f"models.{rate} is {getattr(self, rate)}; it must be in [0, 1)")
        require(self.input_px >= 0, f"models.input_px is {self.input_px}; it must be 0 or more")
        if not self.label:
            object.__setattr__(self, "label", self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Noise on the images of a student, and which images get which kind; the rates of model noise are the model's."""

    num_ops: int = 2
    """RandAugment's N: operations an image (0 switches it off)."""
    magnitude: float = 27.0
    """RandAugment's M on the paper's 0-10 scale, extrapolated above 10 (27 for B7 and larger)."""
    variant: Literal["official", "monotone"] = "official"
    """`official`: Posterize and Solarize are harsher where M is small, and enhancements are the identity at 5.
    `monotone`: every operation is the identity at 0 and grows with M."""
    translate_px: float = 100.0
    """Translation at magnitude 10 (official: 100 at ImageNet sizes, 4 at 32 px)."""
    cutout_px: float = 40.0
    """Half side of RandAugment's Cutout at magnitude 10 (official: 40, and 4 at 32 px)."""
    always_cutout_px: int = 0
    """Side of a grey square cut out of every image (official small-image recipe: 16); 0 is off."""
    crop_padding_px: int = 4
    """Images that are all of the model's size: reflect padding before a random crop of that size; 0 is off."""
    crop_area: tuple[float, ...] = (0.08, 1.0)
    """Photographs: share of the picture that the random resized crop takes, at least and at most (official flag; its
    program refuses crops below a tenth all the same)."""
    crop_ratio: tuple[float, ...] = (3 / 4, 4 / 3)
    """Photographs: width over height of that crop, at least and at most (official)."""
    flip: bool = True
    """Random horizontal flip; off for digits."""
    augment: Where = "both"
    """Images of students that are augmented: crop, flip, RandAugment, Cutout. The others are shown as in evaluation.
    Generation 0 and the control have labelled images alone; generation 0 gets every noise, whatever is switched off."""
    dropout: Where = "both"
    """Images of students whose features are dropped before the classifier."""
    stochastic_depth: Where = "both"
    """Images of students that skip residual branches."""

    def __post_init__(self) -> None:
        require(self.num_ops >= 0, f"noise.num_ops is {self.num_ops}; it must be 0 or more")
        require(0 <= self.magnitude <= 30, f"noise.magnitude is {self.magnitude}; it must be in 0..30")
        for name in ("always_cutout_px", "crop_padding_px", "translate_px", "cutout_px"):
            require(getattr(self, name) >= 0, f"noise.{name} is {getattr(self, name)}; it must be 0 or more")
        for name, most in (("crop_area", 1.0), ("crop_ratio", math.inf)):
            values = getattr(self, name)
            right = len(values) == 2 and 0 < values[0] <= values[1] <= most
            require(right, f"noise.{name} is {list(values)}; it must be two ascending numbers above 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run; the same for every generation but for the teacher's batch and steps.

    Durations are steps, or epochs where those are given: passes over the labelled images at `labelled_batch`.
    """

    steps: int = 218_949
    """Steps of each student and of the control (paper: 350 epochs of ImageNet at batch 2048)."""
    epochs: float = 0.0
    """In place of `steps`: passes over the labelled images (paper: 350 above B4, else 700)."""
    teacher_steps: int = 0
    """Steps of generation 0; 0: as many as the students'."""
    labelled_batch: int = 2048
    """Labelled images a step (paper: 2048), over all ranks and micro-batches."""
    teacher_batch: int = 0
    """Labelled images a step of generation 0; 0 means `labelled_batch`."""
    unlabelled_ratio: tuple[int, ...] = (14, 14, 28)
    """Unlabelled images for one labelled image in a student's batch, by generation 1, 2, ...; the last one repeats
    (paper: 14, 14, 28 for L2)."""
    accumulation: int = 1
    """Micro-batches that a step is cut into on each rank, to fit into memory; batch norm sees micro-batches."""
    optimizer: str = "rmsproptf"
    """timm optimizer name (paper: RMSProp as TensorFlow has it)."""
    optimizer_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further arguments of the optimizer. RMSProp has the paper's decay 0.9 and epsilon 1e-3 without being told."""
    learning_rate: float = 0.128
    """Peak learning rate (paper: 0.128 at batch 2048)."""
    momentum: float = 0.9
    """Momentum of SGD and RMSProp."""
    weight_decay: float = 1e-5
    """Coupled L2 (AdamW: decoupled) on everything but normalisation (paper: 1e-5)."""
    decay_biases: bool = True
    """Whether biases decay as well, as in the official code."""
    schedule: Literal["staircase", "cosine", "constant"] = "staircase"
    """`staircase`: x0.97 every `decay_steps`; `cosine`: to zero at the last step."""
    decay_steps: int = 1501
    """Steps of one stair, counted from step 0 (paper: 2.4 epochs of 350, 4.8 of 700)."""
    decay_epochs: float = 0.0
    """In place of `decay_steps`."""
    final_learning_rate: float = 0.0
    """In place of both: the stairs are as long as it takes to come from `learning_rate` to this rate between the end
    of the warm-up and the last step (official `final_base_lr`)."""
    warmup_steps: int = 3127
    """Linear warm-up from 0 (paper: 5 epochs)."""
    warmup_epochs: float = 0.0
    """In place of `warmup_steps`."""
    label_smoothing: float = 0.1
    """On labelled images and on hard pseudo-labels, never on soft ones."""
    loss: LossKind = "code"
    """`algorithm1`: mean + mean; `concat_mean`: one mean; `code`: sum over the labelled count (official code)."""
    pseudo_labels: Literal["soft", "hard"] = "soft"
    """Soft: the teacher's distribution; hard: its argmax."""
    temperature: float = 1.0
    """Temperature of soft labels: p^(1/T), renormalised."""
    ema_decay: float = 0.9999
    """Decay of the weight average that labels and is evaluated; warmed up as (1+t)/(10+t). 0: raw weights."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 is off."""
    init: str = "scratch"
    """Weights that a student starts from: `scratch`, `teacher` (the generation before, of the same architecture), or
    the path of a checkpoint."""
    stages: Literal["joint", "pretrain-finetune"] = "joint"
    """`joint`: labelled and unlabelled images in one batch (paper). `pretrain-finetune`: a student sees only
    pseudo-labelled images for its steps, then only labelled ones for `finetune_steps`."""
    finetune_steps: int = 0
    """Steps on labelled images alone in `pretrain-finetune`; 0: as many as the students'."""
    finetune_learning_rate: float = 0.0
    """Peak learning rate of them, without a warm-up; 0: a tenth of `learning_rate`."""
    batch_norm: Literal["own", "sync", "frozen"] = "own"
    """Statistics of a training batch: `own` of each rank's micro-batch, `sync` over ranks (CUDA), or `frozen`: the
    running ones, which then never move."""
    amp: Literal["off", "bf16"] = "off"
    """Arithmetic of training's forward passes; weights, losses and averages stay fp32."""
    channels_last: bool = True
    """Memory layout of the model and its images; moves last bits."""
    compile: bool = False
    """torch.compile the model; moves last bits."""
    log_steps: int = 25
    """Steps between two lines of `metrics.jsonl`."""
    checkpoint_seconds: float = 15.0
    """Seconds between saved states; a kill costs at most about this much. A state that takes long to write is written
    less often: never more than a twentieth of the time."""

    def __post_init__(self) -> None:
        for name in ("steps", "labelled_batch", "accumulation", "decay_steps", "log_steps"):
            require(getattr(self, name) > 0, f"train.{name} is {getattr(self, name)}; it must be 1 or more")
        for name in (
            "epochs", "teacher_steps", "teacher_batch", "decay_epochs", "final_learning_rate", "warmup_steps",
            "warmup_epochs", "weight_decay", "clip_norm", "momentum", "finetune_steps", "finetune_learning_rate",
            "checkpoint_seconds",
        ):  # fmt: skip
            require(0 <= getattr(self, name) < math.inf, f"train.{name} is {getattr(self, name)}; it must be 0 or more")
        require(0 < self.learning_rate < math.inf, f"train.learning_rate is {self.learning_rate}; it must be above 0")
        require(
            self.final_learning_rate < self.learning_rate,
            f"train.final_learning_rate is {self.final_learning_rate}; it must be below train.learning_rate",
        )
        require(self.temperature > 0, f"train.temperature is {self.temperature}; it must be above 0")
        require(0 <= self.ema_decay < 1, f"train.ema_decay is {self.ema_decay}; it must be in [0, 1)")
        require(0 <= self.label_smoothing < 1, "train.label_smoothing must be in [0, 1)")
        ratios = self.unlabelled_ratio
        require(
            len(ratios) > 0 and min(ratios) >= 0,
            f"train.unlabelled_ratio is {list(ratios)}; it must be whole numbers of 0 or more",
        )

    def ratio(self, generation: int) -> int:
        """Unlabelled images for one labelled one in the batch of student 1, 2, ..."""
        return of_generation(self.unlabelled_ratio, max(0, generation - 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Who labels the unlabelled images, and how."""

    model: str = ""
    """A fixed teacher for all generations, by any name that `nsbench eval` takes, such as a timm model or the folder
    of a finished run; empty: the student of the generation before (paper)."""
    weights: Literal["ema", "raw"] = "ema"
    """The teacher's weight average (official), or its last weights. A fixed teacher has one set of weights."""
    noised: bool = False
    """Label under the student's noise: augmented images, dropout and stochastic depth. A negative control (paper,
    ablation); batch norm stays in eval mode."""
    input_px: int = 0
    """Side of the images that it labels at; 0: its own (official)."""
    batch_size: int = 0
    """Images of one forward pass; 0: that of evaluation."""
    top_k: int = 0
    """Classes whose probabilities are stored of a soft label, beside the mass of the rest; 0: all of them up to 200
    classes, else 32."""

    def __post_init__(self) -> None:
        for name in ("input_px", "batch_size", "top_k"):
            require(getattr(self, name) >= 0, f"teacher.{name} is {getattr(self, name)}; it must be 0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """Which pseudo-labelled images a student sees, and how often."""

    min_confidence: float = 0.3
    """Drop images whose largest probability is below (paper: 0.3)."""
    max_confidence: float = 1.0
    """Drop images whose largest probability is above; with `min_confidence` a slice, as in the paper's study."""
    balance: Literal["off", "cap", "duplicate"] = "duplicate"
    """`cap`: the most confident `per_class` a class; `duplicate`: also repeat images of small classes up to it."""
    per_class: int = 0
    """Quota a class (paper: 130,000); 0: `total` / classes."""
    total: int = 0
    """Quota of all classes together; 0: the number of images within the confidences."""
    rule: Literal["top-k", "bins"] = "top-k"
    """How a class above its quota is cut. `top-k`: exactly the most confident ones. `bins`: the official code, a
    threshold of whole hundredths, and a random sample of what reaches it: quotas are met in expectation."""
    fraction: float = 1.0
    """Share of the unlabelled images that is used at all, drawn by the run's seed (paper, study of the data's size)."""
    filter_model: str = ""
    """A fixed, cheap model whose labels and confidences select (paper: a B0 trained on ImageNet), by any name that
    `nsbench eval` takes; empty: the current teacher's."""
    when: Literal["every-generation", "once"] = "every-generation"
    """`once`: the first selection stays, and later teachers only relabel (official `reassign`)."""

    def __post_init__(self) -> None:
        for name in ("min_confidence", "max_confidence"):
            require(0 <= getattr(self, name) <= 1, f"select.{name} is {getattr(self, name)}; it must be in 0..1")
        require(
            self.min_confidence <= self.max_confidence, "select.min_confidence must be at most select.max_confidence"
        )
        for name in ("per_class", "total"):
            require(getattr(self, name) >= 0, f"select.{name} is {getattr(self, name)}; it must be 0 or more")
        require(0 < self.fraction <= 1, f"select.fraction is {self.fraction}; it must be above 0 and at most 1")
        require(not (self.per_class and self.total), "give select.per_class or select.total, not both")
        require(
            self.rule != "bins" or math.isclose(self.min_confidence * 100, round(self.min_confidence * 100)),
            f"select.min_confidence is {self.min_confidence}; the rule `bins` needs whole hundredths",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixResConfig:
    """The train-test resolution fix: a last phase of every student at a larger size (paper, section 3.1)."""

    steps: int = 0
    """Steps of the phase; 0 with `epochs` 0 switches it off."""
    epochs: float = 0.0
    """In place of `steps`: passes over the labelled images (paper: 1.5)."""
    input_px: int = 0
    """Side of the images in this phase and ever after; 0: the model's (paper: 475 to 800 for L2)."""
    frozen_blocks: int = 0
    """Blocks that stay as they are, counted from the stem, batch-norm statistics included; the stem counts as part of
    the first (official `fix_layer_num`)."""
    learning_rate: float = 0.0
    """Constant learning rate; 0: the tail of the students' schedule (official `train_last_step_num`)."""

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "input_px", "frozen_blocks", "learning_rate"):
            require(getattr(self, name) >= 0, f"fixres.{name} is {getattr(self, name)}; it must be 0 or more")

    @property
    def is_on(self) -> bool:
        return self.steps > 0 or self.epochs > 0

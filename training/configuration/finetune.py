"""The settings of finetune.py; `--settings` shows them with all defaults filled in."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from .phases import Phase, phase_ends, phase_tree
from .prompts import Prompts, check_count
from .reading import Section, UserPath

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
OWN_OPTIMIZERS = ("adamw", "adamw8bit", "prodigy")


class BaseSettings(Section):
    """The frozen model.

    path       a diffusers folder, or a single file as ComfyUI's users have it
    vae        its VAE, where `path` is a single file
    precision  what its weights are held in: bf16, fp32, or the blocks' matrices quantized and computed in bf16: fp8
               and int8 (half of bf16), nf4 (a quarter; needs bitsandbytes)
    """

    path: UserPath
    vae: UserPath | None = None
    precision: Literal["bf16", "fp32", "fp8", "int8", "nf4"] = "bf16"


class AdapterSettings(Section):
    """Where the adapter starts.

    init        an adapter file, or none: fresh weights
    branch      arc (identity), sig (appearance) or both
    resemblance with both branches: weight of the sig branch, that of arc being the rest
    heads, tokens  of fresh weights: attention heads (0: as the released ones relative to the width), ArcFace tokens
    """

    init: UserPath | None
    branch: Literal["arc", "sig", "both"] = "arc"
    resemblance: Fraction = 0.5
    heads: Annotated[int, Field(ge=0)] = 0
    tokens: Count = 8

    @field_validator("init", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return None if value == "none" else value


class TrainSettings(Section):
    """What of it is trained.

    mode      full: all of the branch; kv_out: to_kv and to_out of the attentions; lora: low-rank updates; tokens: one
              person's own tokens, for an identity file, while the adapter stays as it is
    identity  of tokens mode: whose, a name of the cache; empty where there is only one
    rank, alpha, targets  of lora mode
    """

    mode: Literal["full", "kv_out", "lora", "tokens"] = "lora"
    identity: str = ""
    rank: Count = 64
    alpha: Positive = 64.0
    targets: tuple[Literal["to_q", "to_kv", "to_out", "arcface_in", "siglip_in"], ...] = (
        "to_q",
        "to_kv",
        "to_out",
        "arcface_in",
    )


class DataSettings(Section):
    """Which samples are drawn.

    cache         folder made by prepare.py
    paired_ratio  how often a reference is another photo of the person and not the target itself
    references    whose face embedding such a reference has: photo, that photo's own; or mean, the mean over all other
                  photos of the person that could have been drawn, which is nearer to who they are than one photo's
                  reading. SigLIP tokens stay those of the one photo
    single_ratio  with references=mean: how often the embedding is that photo's own nevertheless, so that one photo is
                  nothing new to the adapter; 1 is the same as references=photo
    same_shot_cos  a photo more like the target than this cosine is the same shot and no reference; 1: none is
    text_dropout  how often the caption gives way to "two people"
    id_dropout    how often a person's tokens are left out
    flip          how often a reference's SigLIP tokens are those of its mirror image
    jitter        how often they are those of a crop with other colors and another frame, of those that prepare.py made
                  (jitter.variants)
    max_people    images with more people are not used
    """

    cache: UserPath
    paired_ratio: Fraction = 0.5
    references: Literal["photo", "mean"] = "photo"
    single_ratio: Fraction = 0.5
    same_shot_cos: Fraction = 0.95
    text_dropout: Fraction = 0.1
    id_dropout: Fraction = 0.05
    flip: Fraction = 0.5
    jitter: Fraction = 0.0
    max_people: Annotated[int, Field(ge=1, le=16)] = 4


class OptimSettings(Section):
    """The optimizer.

    name        adamw; adamw8bit (a quarter of the memory for its states; needs bitsandbytes and CUDA); prodigy (finds
                the learning rate itself, twice the memory; needs pytorch-optimizer); or a class of pytorch-optimizer,
                such as Lion or CAME
    options     further arguments of such a class, such as {weight_decouple: true}
    fused       adamw in one kernel: auto (on CUDA), true or false
    steps       of the whole run
    betas, eps  AdamW's
    lr          peak learning rate; 1e-4 suits lora, 1e-5 the other modes; 1 with prodigy, a factor of what it finds
    weight_decay  of matrices only
    max_grad_norm  gradients are clipped to this norm; 0: not at all
    warmup_steps  steps in which the learning rate rises from 0
    schedule    constant, or cosine down to a tenth
    batch_size  samples of one forward and backward pass, on each process
    gradient_accumulation_steps  passes of one optimizer step
    ema         decay of the averaged weights that are the result; 0: none
    skip_limit  the run stops after so many steps in a row whose loss is NaN or infinite
    """

    name: str = "adamw"
    options: dict[str, Any] = Field(default_factory=dict)
    fused: Literal["auto"] | bool = "auto"
    lr: Positive = 1e-4
    weight_decay: NotNegative = 0.01
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Positive = 1e-8
    max_grad_norm: NotNegative = 1.0
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    schedule: Literal["constant", "cosine"] = "constant"
    steps: Count = 2000
    batch_size: Count = 1
    gradient_accumulation_steps: Count = 4
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    skip_limit: Count = 10

    @field_validator("name")
    @classmethod
    def _own_names_are_small(cls, value: str) -> str:
        return value.lower() if value.lower() in OWN_OPTIMIZERS else value

    @model_validator(mode="after")
    def _options_are_a_strangers(self) -> "OptimSettings":
        if self.options and self.name in OWN_OPTIMIZERS:
            raise ValueError(
                f"options are for classes of pytorch-optimizer, and name is {self.name}, whose settings are those "
                "beside it; leave options out"
            )
        return self

    @model_validator(mode="after")
    def _prodigy_has_a_factor(self) -> "OptimSettings":
        if self.name == "prodigy" and self.lr < 0.01:
            raise ValueError(
                f"name is prodigy, which finds the rate itself and multiplies it by lr ({self.lr:g}); set optim.lr=1"
            )
        return self


class NoiseSettings(Section):
    """What the base model gets: how noisy images, and what besides them.

    sigmas    how they are drawn before the shift for the image's size: uniform (released program), or logit_normal, in
              which sigmas in the middle come more often
    logit_mean, logit_std  of logit_normal: of log(sigma / (1 - sigma)) before the shift
    guidance  the guidance scale (released program: 1)
    """

    sigmas: Literal["uniform", "logit_normal"] = "uniform"
    logit_mean: float = 0.0
    logit_std: Positive = 1.0
    guidance: NotNegative = 1.0


class IdentitySettings(Section):
    """The identity loss: how far each face is from its person, at the landmarks of the photo itself.

    weight      in the total loss
    recognizer  the ONNX file that prepare.py embedded the faces with
    max_sigma   samples with more noise (sigma, 0 to 1) are neither decoded nor recognized; 1: all are
    min_target_cos  a target face less like its person's other photos than this cosine is not judged, in InfoNCE
                neither: covered, turned away or somebody else's; -1: all are
    """

    recognizer: UserPath | None = None
    weight: NotNegative = 0.1
    max_sigma: Fraction = 0.6
    min_target_cos: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.3


class ContrastSettings(Section):
    """InfoNCE: a face is to be more like its person than like thousands of others.

    weight     in the total loss
    tau        temperature
    negatives  faces of other people from the cache that each face is compared with; 0: those of its batch alone
    false_negative_cos  a negative more like the face's person than this cosine is left out
    """

    weight: NotNegative = 0.1
    tau: Positive = 0.1
    negatives: Annotated[int, Field(ge=0)] = 4096
    false_negative_cos: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.4


class MemorySettings(Section):
    """Memory against time.

    gradient_checkpointing      recomputes the base model's blocks, with the adapter in them, in the backward pass
    vae_gradient_checkpointing  the VAE's decoder likewise
    blocks_to_swap              block swap: so many of the base model's blocks live in the CPU's memory and are copied
                                to the device when they are needed; needs gradient_checkpointing
    compile_blocks              compiles the base model's blocks (torch.compile): slower start, faster steps
    """

    gradient_checkpointing: bool = True
    vae_gradient_checkpointing: bool = True
    blocks_to_swap: Annotated[int, Field(ge=0)] = 0
    compile_blocks: bool = False

    @model_validator(mode="after")
    def _swapped_blocks_are_recomputed(self) -> "MemorySettings":
        if self.blocks_to_swap and not self.gradient_checkpointing:
            raise ValueError(
                "blocks_to_swap needs gradient_checkpointing, without which a block's weights are kept until the "
                "backward pass; set it to true"
            )
        return self


class ValidationSettings(Section):
    """Validation on held-out photos while training.

    every_steps  steps between two validations; each also saves a checkpoint
    num_images   how many held-out photos are generated, at most
    seeds        how many images of each, with other noise and references; scores of fewer than 6 images in all cannot
                 be compared
    prompts      prompts of one's own, generated beside the held-out photos: a list, or a .yaml, .json or .txt file with
                 one. Each is a text, which shows one of the cache's people in turn, or {prompt: two friends at the sea,
                 people: {anna: [0.1, 0.2, 0.4, 0.6], ben: right}, seed: 7, width: 768, height: 512}: people stand in
                 boxes (x1, y1, x2, y2), fractions of the image, or left, middle, right or in a row
    t5, clip, t5_tokenizer, clip_tokenizer  what encodes these prompts, where it is not there any more where prepare.py
                 found it
    sampling_steps, guidance  of the sampler
    resemblance  where one branch of an adapter with both is trained: images are generated with both, as Apply
                 WithAnyone does, this being the weight of the sig branch; none: with the trained branch alone
    num_sigmas   of the validation loss: it is computed at so many evenly spaced sigmas
    face_pack    folder of an insightface pack whose detector finds the faces of previews
    judges       cards (.json) of recognizers that training does not use, or dlib, which pip installs (extra `judge`);
                 without any there are no scores and no early stopping
    provider     where they run: CPU, CUDA
    """

    every_steps: Count = 250
    num_images: Annotated[int, Field(ge=0)] = 8
    seeds: Count = 1
    prompts: Prompts = ()
    t5: UserPath | None = None
    clip: UserPath | None = None
    t5_tokenizer: UserPath | None = None
    clip_tokenizer: UserPath | None = None
    sampling_steps: Count = 25
    guidance: NotNegative = 4.0
    resemblance: Literal["none"] | Fraction = 0.5
    num_sigmas: Count = 9
    face_pack: UserPath | None = None
    judges: tuple[UserPath, ...] = ()
    provider: str = "CPU"


class EarlyStoppingSettings(Section):
    """Early stopping: the run ends where copying rises and likeness does not, by 95 % intervals of a paired bootstrap.

    enabled                  whether it does
    max_copy_paste_increase  a rise of the copy-paste score since the best validation counts when it is above this
    patience                 at so many validations in a row
    """

    enabled: bool = True
    max_copy_paste_increase: NotNegative = 0.1
    patience: Count = 2

    @model_validator(mode="before")
    @classmethod
    def _gain_is_by_interval(cls, value: Any) -> Any:
        if isinstance(value, dict) and "min_sim_gt_gain" in value:
            raise ValueError(
                "min_sim_gt_gain is no setting any more: whether Sim(GT) has risen is decided by the 95 % interval of "
                "a paired bootstrap. Remove it"
            )
        return value


class SaveSettings(Section):
    """Checkpoints, besides those that each validation saves.

    every_steps  steps between two
    keep         how many of the latest are kept; the one with the best validation always is
    """

    every_steps: Count = 250
    keep: Count = 3


class LogSettings(Section):
    """Where numbers and previews go besides the run's folder and TensorBoard.

    wandb  project of Weights & Biases, which sends them over the network: needs `pip install wandb` and `wandb login`;
           empty: nothing is sent
    """

    wandb: str = ""


class Finetune(Section):
    """A run.

    out     its folder
    resume  auto: resumes from the folder's latest checkpoint; never: refuses a folder that has some
    seed    of every draw: the same settings, photos and seed give the same run
    device  auto: CUDA where there is one; cpu; cuda
    phases  parts of the run in which some settings differ: [{until_step: 500, overrides: {data.paired_ratio: 0}}, ...];
            until_fraction: 0.2 ends a phase after that fraction of all steps
    """

    out: UserPath
    base: BaseSettings
    adapter: AdapterSettings
    data: DataSettings
    train: TrainSettings = TrainSettings()
    optim: OptimSettings = OptimSettings()
    noise: NoiseSettings = NoiseSettings()
    id_loss: IdentitySettings = IdentitySettings()
    nce: ContrastSettings = ContrastSettings()
    phases: tuple[Phase, ...] = ()
    memory: MemorySettings = MemorySettings()
    validation: ValidationSettings = ValidationSettings()
    early_stopping: EarlyStoppingSettings = EarlyStoppingSettings()
    save: SaveSettings = SaveSettings()
    log: LogSettings = LogSettings()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    device: Literal["auto", "cpu", "cuda"] = "auto"
    resume: Literal["auto", "never"] = "auto"
    _parts: tuple[tuple[int, "Finetune"], ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _phases_are_sound(self, info: ValidationInfo) -> "Finetune":
        ends = phase_ends(self.phases, self.optim.steps)
        tree = self.model_dump()
        self._parts = tuple(
            (end, Finetune.model_validate(phase_tree(tree, phase, Finetune), context=info.context))
            for phase, end in zip(self.phases, ends, strict=True)
        )
        return self

    @model_validator(mode="after")
    def _losses_have_a_recognizer(self) -> "Finetune":
        if self.id_loss.recognizer is None and (self.id_loss.weight > 0 or self.nce.weight > 0):
            raise ValueError(
                "id_loss.recognizer is missing: the ONNX file of the face pack that prepare.py used (glintr100.onnx of "
                "antelopev2). To train without identity losses set id_loss.weight=0 and nce.weight=0."
            )
        return self

    @model_validator(mode="after")
    def _judges_have_a_detector(self) -> "Finetune":
        if self.validation.judges and self.validation.face_pack is None:
            raise ValueError(
                "validation.judges are named and validation.face_pack is not: the folder of the insightface pack that "
                "finds the faces of previews (antelopev2)"
            )
        return self

    @model_validator(mode="after")
    def _prompts_show_no_more_than_are_trained(self) -> "Finetune":
        for number, entry in enumerate(self.validation.prompts, start=1):
            try:
                check_count(len(entry.people), self.data.max_people)
            except ValueError as error:
                raise ValueError(f"validation.prompts: entry {number}: {error}") from error
        return self

    @property
    def caches(self) -> tuple[Path, ...]:
        """Every cache that the run or one of its phases reads."""
        return tuple(dict.fromkeys([self.data.cache, *(part.data.cache for _, part in self._parts)]))

    def at(self, step: int) -> "Finetune":
        """The settings that hold for the step after `step` finished ones."""
        return next((settings for end, settings in self._parts if step < end), self)

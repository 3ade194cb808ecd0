"""The settings of finetune.py; `--settings` shows them with all defaults filled in."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from .phases import Phase, phase_ends, phase_tree
from .reading import Section, UserPath

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


class BaseSettings(Section):
    """The frozen model.

    path       a diffusers folder, or a single file as ComfyUI's users have it
    vae        its VAE, where `path` is a single file
    precision  what its weights are held in: bf16, fp32, or the blocks' matrices packed and computed in bf16: fp8 and
               int8 (half of bf16), nf4 (a quarter; needs bitsandbytes)
    """

    path: UserPath
    vae: UserPath | None = None
    precision: Literal["bf16", "fp32", "fp8", "int8", "nf4"] = "bf16"


class AdapterSettings(Section):
    """Where the adapter starts.

    init        an adapter file, or none: fresh weights
    branch      arc (who), sig (look) or both
    resemblance with both branches: share of the sig branch
    heads, tokens  of fresh weights: attention heads (0: as the released ones relative to the width), ArcFace tokens
    """

    init: UserPath | None
    branch: Literal["arc", "sig", "both"] = "arc"
    resemblance: Share = 0.5
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
    max_people    images with more people are not used
    """

    cache: UserPath
    paired_ratio: Share = 0.5
    references: Literal["photo", "mean"] = "photo"
    single_ratio: Share = 0.5
    same_shot_cos: Share = 0.95
    text_dropout: Share = 0.1
    id_dropout: Share = 0.05
    flip: Share = 0.5
    max_people: Annotated[int, Field(ge=1, le=16)] = 4


class OptimSettings(Section):
    """The optimizer.

    name        adamw; adamw8bit (a quarter of the memory for its states; needs bitsandbytes and CUDA); prodigy (finds
                the rate itself, twice the memory; needs pytorch-optimizer)
    fused       one pass over the weights a step, of adamw: auto (on CUDA), true or false
    steps       of the whole run
    betas, eps  AdamW's
    lr          the largest rate; 1e-4 suits lora, 1e-5 the other modes; 1 with prodigy, a factor of what it finds
    wd          weight decay, of matrices only
    clip        largest norm of all gradients; 0: none
    warmup      steps in which the rate rises from 0
    schedule    constant, or cosine down to a tenth
    batch, accum  samples of one pass, passes of one step
    ema         decay of the averaged weights that are the result; 0: none
    skip_limit  the run stops after so many steps in a row whose loss is no number
    """

    name: Literal["adamw", "adamw8bit", "prodigy"] = "adamw"
    fused: Literal["auto"] | bool = "auto"
    lr: Positive = 1e-4
    wd: NotNegative = 0.01
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Positive = 1e-8
    clip: NotNegative = 1.0
    warmup: Annotated[int, Field(ge=0)] = 100
    schedule: Literal["constant", "cosine"] = "constant"
    steps: Count = 2000
    batch: Count = 1
    accum: Count = 4
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    skip_limit: Count = 10

    @model_validator(mode="after")
    def _prodigy_has_a_factor(self) -> "OptimSettings":
        if self.name == "prodigy" and self.lr < 0.01:
            raise ValueError(
                f"name is prodigy, which finds the rate itself and multiplies it by lr ({self.lr:g}); set optim.lr=1"
            )
        return self


class NoiseSettings(Section):
    """What the base model is told with noisy images.

    guidance  the guidance scale (released program: 1)
    """

    guidance: NotNegative = 1.0


class IdentitySettings(Section):
    """The identity loss: how far each face is from its person, at the landmarks of the photo itself.

    weight      its share of the loss
    recognizer  the ONNX file that prepare.py embedded the faces with
    t_max       samples of a higher noise level are spared decoding and recognizing; 1: none are
    """

    recognizer: UserPath | None = None
    weight: NotNegative = 0.1
    t_max: Share = 0.6


class ContrastSettings(Section):
    """InfoNCE: a face is to be more like its person than like thousands of others.

    weight     its share of the loss
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

    checkpoint_blocks  computes the base model's blocks, with the adapter in them, twice and keeps nothing inside them
    checkpoint_vae     the VAE's decoder likewise
    stream_blocks      so many of the base model's blocks live in the CPU's memory and are copied in when they are
                       needed; needs checkpoint_blocks
    compile_blocks     compiles the base model's blocks (torch.compile): slower start, faster steps
    """

    checkpoint_blocks: bool = True
    checkpoint_vae: bool = True
    stream_blocks: Annotated[int, Field(ge=0)] = 0
    compile_blocks: bool = False

    @model_validator(mode="after")
    def _streamed_blocks_are_recomputed(self) -> "MemorySettings":
        if self.stream_blocks and not self.checkpoint_blocks:
            raise ValueError(
                "stream_blocks needs checkpoint_blocks, without which a block's weights are kept until the backward "
                "pass; set it to true"
            )
        return self


class EvalSettings(Section):
    """Looking at held-out photos while training.

    every       steps between two looks; each is also a checkpoint
    prompts     how many photos are painted, at most
    steps, guidance  of the sampler
    noise_levels  of the validation loss
    face_pack   folder of an insightface pack whose detector finds the faces of previews
    judges      cards (.json) of recognizers that training does not use, or dlib, which pip installs (extra `judge`);
                without any nobody judges and nothing stops
    provider    where they run: CPU, CUDA
    stop        whether the run stops when copying rises without fidelity
    rise, gain  copying has risen by more than `rise` since the best look, Sim(GT) by less than `gain`
    patience    at so many looks in a row
    """

    every: Count = 250
    prompts: Annotated[int, Field(ge=0)] = 8
    steps: Count = 25
    guidance: NotNegative = 4.0
    noise_levels: Count = 9
    face_pack: UserPath | None = None
    judges: tuple[UserPath, ...] = ()
    provider: str = "CPU"
    stop: bool = True
    rise: NotNegative = 0.1
    gain: NotNegative = 0.01
    patience: Count = 2


class SaveSettings(Section):
    """Checkpoints, besides those that each look makes.

    every  steps between two
    keep   how many of the latest are kept; the one the judges find best always is
    """

    every: Count = 250
    keep: Count = 3


class Finetune(Section):
    """A run.

    out     its folder
    resume  auto: goes on where the folder's latest checkpoint ends; never: refuses a folder that has some
    seed    of every draw: the same settings, photos and seed give the same run
    device  auto: CUDA where there is one; cpu; cuda
    phases  parts of the run in which some settings differ: [{until_step: 500, overrides: {data.paired_ratio: 0}}, ...];
            until_share: 0.2 ends a phase after that share of all steps
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
    eval: EvalSettings = EvalSettings()
    save: SaveSettings = SaveSettings()
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
        if self.eval.judges and self.eval.face_pack is None:
            raise ValueError(
                "eval.judges are named and eval.face_pack is not: the folder of the insightface pack that finds the "
                "faces of previews (antelopev2)"
            )
        return self

    @property
    def caches(self) -> tuple[Path, ...]:
        """Every cache that the run or one of its phases reads."""
        return tuple(dict.fromkeys([self.data.cache, *(part.data.cache for _, part in self._parts)]))

    def at(self, step: int) -> "Finetune":
        """The settings that hold for the step after `step` finished ones."""
        return next((settings for end, settings in self._parts if step < end), self)

"""The settings of finetune.py; `--settings` shows them with all defaults filled in."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from .learning import ContrastSettings, IdentitySettings, NoiseSettings, OptimSettings
from .monitoring import EarlyStoppingSettings, LogSettings, SaveSettings, ValidationSettings
from .phases import Phase, phase_ends, phase_tree
from .prompts import check_count
from .reading import Count, Fraction, Positive, Section, UserPath


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

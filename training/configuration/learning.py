"""The settings of finetune.py on how it learns: optimizer, noise, identity loss, InfoNCE."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .reading import Count, Fraction, NotNegative, Positive, Section, UserPath

OWN_OPTIMIZERS = ("adamw", "adamw8bit", "prodigy")


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

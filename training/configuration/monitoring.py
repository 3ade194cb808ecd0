"""The settings of finetune.py on what is watched and kept: validation, early stopping, checkpoints, logs."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .prompts import Prompts
from .reading import Count, Fraction, NotNegative, Section, UserPath


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
    t5, clip, qwen, t5_tokenizer, clip_tokenizer, qwen_tokenizer  what encodes these prompts, where it is not there any
                 more where prepare.py found it
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
    qwen: UserPath | None = None
    t5_tokenizer: UserPath | None = None
    clip_tokenizer: UserPath | None = None
    qwen_tokenizer: UserPath | None = None
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

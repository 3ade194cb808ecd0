"""The miniature's shipped models inside ComfyUI's own classes, at their small sizes."""

from typing import cast

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch
from comfy import sd1_clip
from comfy.ldm.flux.model import FluxParams
from comfy.text_encoders.flux import FluxClipModel, FluxTokenizer
from comfy.text_encoders.t5 import T5
from transformers import PreTrainedTokenizerFast

from ..miniature import weights_folder as files
from ..miniature.models import autoencoder, backbone, text


class MiniatureLatent(comfy.latent_formats.LatentFormat):
    """How a sampler sees latents: as the VAE gives them, for its encoder standardizes them itself."""

    scale_factor = autoencoder.SCALE
    latent_channels = autoencoder.LATENT_CHANNELS


class MiniatureFluxConfig(comfy.supported_models.Flux):
    """ComfyUI's configuration of FLUX.1 with latents of the miniature, which empty ones are made to fit too."""

    latent_format = MiniatureLatent


def flux_config() -> MiniatureFluxConfig:
    """The shapes of the base model, without those that this version of ComfyUI knows nothing of."""
    fields = backbone.comfyui_parameters()
    known = {name: value for name, value in fields.items() if name in FluxParams.__dataclass_fields__}
    config = MiniatureFluxConfig({"image_model": "flux", **known})
    # None: computed in the type of the weights, without a cast for each layer.
    config.set_inference_dtype(torch.float32, None)
    return config


def weights_of(name: str) -> dict[str, torch.Tensor]:
    """The tensors of a shipped file."""
    # a tuple only where its metadata is asked for too
    return cast("dict[str, torch.Tensor]", comfy.utils.load_torch_file(str(files.shipped(name))))


def image_model() -> comfy.model_patcher.ModelPatcher:
    """ComfyUI's Flux with the shipped weights."""
    config = flux_config()
    model = comfy.model_base.Flux(config, device=torch.device("cpu"))
    model.diffusion_model.load_state_dict(config.process_unet_state_dict(weights_of(files.FLUX)))
    model.diffusion_model.train(False)
    return comfy.model_patcher.ModelPatcher(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def vae() -> comfy.sd.VAE:
    """ComfyUI's VAE with the shipped weights."""
    weights = weights_of(files.VAE_FILE)
    identity = torch.eye(autoencoder.LATENT_CHANNELS)[:, :, None, None]
    both = torch.block_diag(*[torch.eye(autoencoder.LATENT_CHANNELS)] * 2)[:, :, None, None]
    # A size of one's own is possible only for the class with two more 1x1 layers, which FLUX.1's VAE has not.
    weights |= {"quant_conv.weight": both, "quant_conv.bias": torch.zeros(len(both))}
    weights |= {"post_quant_conv.weight": identity, "post_quant_conv.bias": torch.zeros(len(identity))}
    size = {"ddconfig": autoencoder.comfyui_parameters(), "embed_dim": autoencoder.LATENT_CHANNELS}
    vae = comfy.sd.VAE(sd=weights, config={"params": size}, dtype=torch.float32)
    vae.latent_channels = autoencoder.LATENT_CHANNELS
    if vae.first_stage_model is None:
        raise RuntimeError(f"{files.VAE_FILE} does not fit ComfyUI's class.")
    # ComfyUI's class has 32 groups whatever it is given.
    for module in vae.first_stage_model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = autoencoder.NORM_GROUPS
    return vae


def text_encoders() -> comfy.sd.CLIP:
    """ComfyUI's CLIP with the two shipped text encoders, as its loader makes it of FLUX.1's."""
    target = comfy.supported_models_base.ClipTarget(CaptionTokenizer, CaptionEncoders)
    encoders = comfy.sd.CLIP(target, parameters=0, model_options={"dtype": torch.float32})
    for name in (files.CLIP, files.T5):
        missing, unexpected = encoders.load_sd(weights_of(name))
        if unexpected or set(missing) - {"text_projection.weight"}:  # used by no FLUX.1
            raise RuntimeError(f"{name} does not fit ComfyUI's class: lacks {missing}, has {unexpected}.")
    return encoders


class CaptionTokenizer(FluxTokenizer):
    """Both text encoders' tokens of a caption, a word each."""

    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict | None = None) -> None:
        shared = {"embedding_directory": embedding_directory, "tokenizer_class": PreTrainedTokenizerFast}
        shared |= {"tokenizer_data": tokenizer_data or {}, "pad_with_end": False, "pad_token": text.PAD_ID}
        self.clip_l = sd1_clip.SDTokenizer(
            str(files.shipped(files.CLIP_WORDS)),
            max_length=text.CLIP_TOKENS,
            embedding_size=backbone.POOLED_WIDTH,
            embedding_key="clip_l",
            **shared,
        )
        self.t5xxl = sd1_clip.SDTokenizer(
            str(files.shipped(files.T5_WORDS)),
            embedding_size=backbone.TEXT_WIDTH,
            embedding_key="t5xxl",
            has_start_token=False,
            pad_to_max_length=False,
            # As ComfyUI's own T5 tokenizer has it: prompts are padded and never cut.
            max_length=99_999_999,
            min_length=text.T5_TOKENS,
            **shared,
        )


class CaptionEncoders(FluxClipModel):
    """ComfyUI's pair of text encoders at small size. What the base class does besides building larger ones is kept."""

    def __init__(
        self, device: str = "cpu", dtype: torch.dtype | None = None, model_options: dict | None = None
    ) -> None:
        # Not FluxClipModel's own, which would build the encoders at full size.
        torch.nn.Module.__init__(self)
        vocabulary = len(PreTrainedTokenizerFast.from_pretrained(files.shipped(files.T5_WORDS)))
        shared = {"device": device, "dtype": dtype, "return_projected_pooled": False}
        self.clip_l = sd1_clip.SDClipModel(
            max_length=text.CLIP_TOKENS,
            textmodel_json_config=text.clip_configuration(vocabulary),
            special_tokens={"start": text.START_ID, "end": text.END_ID, "pad": text.PAD_ID},
            model_options=model_options or {},
            **shared,
        )
        # ComfyUI's class always has CLIP's own vocabulary
        embedding = self.clip_l.operations.Embedding(vocabulary, backbone.POOLED_WIDTH, dtype=dtype, device=device)
        self.clip_l.transformer.set_input_embeddings(embedding.requires_grad_(False))
        self.t5xxl = sd1_clip.SDClipModel(
            textmodel_json_config=text.t5_configuration(vocabulary),
            special_tokens={"end": text.END_ID, "pad": text.PAD_ID},
            model_class=T5,  # pyright: ignore[reportArgumentType]  typed by its default alone
            model_options=model_options or {},
            **shared,
        )
        self.dtypes = {dtype}

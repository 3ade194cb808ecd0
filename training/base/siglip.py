"""SigLIP's vision tower in transformers' class, from a single file or a folder."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from withanyone_core.faces.siglip import LAYER_NORM_EPS, VISION, pixel_values, tower_shape, vision_weights

from .files import fingerprint, open_tensors


class SiglipTokens:
    """Face crops to patch tokens.

    fingerprint  SHA-256 over the files

    The tower comes to the device with the first crop.

    Raises FileNotFoundError, or ValueError for what is no SigLIP tower.
    """

    def __init__(self, path: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        from transformers import SiglipVisionConfig, SiglipVisionModel

        path = Path(path)
        tensors = open_tensors(path)
        weights = {key: value.float() for key, value in vision_weights(dict(tensors)).items()}
        self._shape = tower_shape(weights, path.name)
        configuration = SiglipVisionConfig(
            hidden_size=self._shape.width,
            intermediate_size=self._shape.mlp_width,
            num_hidden_layers=self._shape.layers,
            num_attention_heads=self._shape.heads,
            image_size=self._shape.image_size_px,
            patch_size=self._shape.patch_px,
            layer_norm_eps=LAYER_NORM_EPS,
            # The head that pools is not among the weights, and nobody reads its output.
            vision_use_head=False,
        )
        model = SiglipVisionModel(configuration)
        # Versions of transformers differ in whether the names begin with vision_model.
        named = {key: weights.get(key, weights.get(f"{VISION}{key}")) for key in model.state_dict()}
        missing = [key for key, value in named.items() if value is None and not key.endswith("position_ids")]
        if missing:
            raise ValueError(f"{path.name} is not a whole SigLIP vision tower: {', '.join(missing[:4])} is missing.")
        model.load_state_dict({key: value for key, value in named.items() if value is not None}, strict=False)
        nn.Module.to(model, dtype)  # in place; transformers wraps its own `to`, which loses its type
        self._model = model.train(False).requires_grad_(False)
        self._device = device
        self.fingerprint = fingerprint(path)

    @torch.no_grad()
    def tokens(self, crop: np.ndarray) -> Tensor:
        """An RGB crop [H, W, 3] uint8 to post-norm tokens, float32 [patches, width]."""
        model = self._model
        nn.Module.to(model, self._device)
        pixels = pixel_values(crop, self._shape.image_size_px).to(model.device, model.dtype)
        return model(pixel_values=pixels).last_hidden_state[0].float().cpu()

"""ViT towers."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.dropout import Dropout
from pipeline.models.encoder import Encoder
from pipeline.models.pretrained import Pretrained
from pipeline.models.settings import VitEmbedderSettings

_NORM_EPSILON = 1e-6
"""Torchvision's, which its weights were trained with."""
_LAYER_NAMES = {
    "attention_norm": "ln_1",
    "attention.query_key_value": "self_attention.in_proj",
    "attention.out": "self_attention.out_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.0": "mlp.0",
    "feed_forward.3": "mlp.3",
}


class VitEmbedder(Pretrained):
    """A Vision Transformer whose patch tokens are projected to the width of the encoder. Its class token stays inside,
    so that torchvision's weights see what they were trained on."""

    def __init__(self, settings: VitEmbedderSettings, channels: int, grid: tuple[int, int], width: int) -> None:
        super().__init__(settings.architecture, settings.weights)
        self.grid = grid
        self.patches = nn.Conv2d(channels, settings.width, settings.patch, settings.patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, settings.width))
        self.positions = nn.Parameter(torch.empty(1, 1 + grid[0] * grid[1], settings.width))
        self.dropout = Dropout(settings.dropout)
        self.encoder = Encoder(settings, _NORM_EPSILON)
        self.project = nn.Linear(settings.width, width)
        self.torchvision_prefixes = {
            "patches": "conv_proj",
            "class_token": "class_token",
            "positions": "encoder.pos_embedding",
            "encoder.norm": "encoder.ln",
        }
        for layer in range(settings.layers):
            for ours, theirs in _LAYER_NAMES.items():
                source = f"encoder.layers.encoder_layer_{layer}.{theirs}"
                self.torchvision_prefixes[f"encoder.layers.{layer}.{ours}"] = source

    def reset_parameters(self) -> None:
        """Initialise what this module itself owns; its children do the same for theirs."""
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(image), -1, -1), patches], dim=1) + self.positions
        tokens, _ = self.encoder(self.dropout(tokens))
        features: Tensor = self.project(tokens[:, 1:])
        return features.transpose(1, 2).reshape(len(image), -1, *self.grid)

    def adapt(self, name: str, tensor: Tensor) -> Tensor:
        """Positions [1, 1 + n², D] of a square image are interpolated to this grid, behind the class token's own."""
        side = math.isqrt(max(tensor.shape[1] - 1, 0)) if tensor.dim() == 3 else 0
        if name != "positions" or side * side + 1 != tensor.shape[1] or (side, side) == self.grid:
            return super().adapt(name, tensor)
        square = tensor[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(square, self.grid, mode="bicubic", align_corners=False)
        return torch.cat([tensor[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)

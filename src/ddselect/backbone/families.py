"""The families of priors: how each network is called, and what it takes for a condition."""

from pathlib import Path
from typing import ClassVar

import diffusers
import torch
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.latents import LatentSpace, PixelSpace, VAESpace
from ddselect.backbone.loading import ModelSource


class _Prior(Denoiser):
    """A network of diffusers with its latents and schedule."""

    kind: ClassVar[str]  # of diffusers

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        network = source.part(getattr(diffusers, self.kind), self.part, dtype)
        super().__init__(source.title, network, self.space(source, dtype), source.schedule(), dtype)

    def space(self, source: ModelSource, dtype: torch.dtype) -> LatentSpace:
        """What the network predicts in."""
        return VAESpace(source, dtype)


class ClassUNet(_Prior):
    """UNet2DModel in pixel space; the embedded prior is one.

    A condition is a class index; a UNet without class embedding ignores it. ``model_index.json`` beside it says how
    many pixels per side space-to-depth folds into channels (``patch``, 1 if it says nothing).
    """

    kind = "UNet2DModel"

    def space(self, source: ModelSource, dtype: torch.dtype) -> LatentSpace:
        return PixelSpace(int(source.model_index().get("patch", 1)))

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        labels = conditions if self.config["num_class_embeds"] else None
        return self.network(noisy, time, class_labels=labels).sample


class DiT(_Prior):
    """A latent diffusion transformer (Peebles and Xie, ICCV 2023).

    A condition is one of the 1000 ImageNet classes; the null class follows the last class.
    """

    kind, part = "DiTTransformer2DModel", "transformer"

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        return self.network(noisy, timestep=time, class_labels=conditions).sample


class StableDiffusion(_Prior):
    """Stable Diffusion 1.x and 2.x: a UNet that attends to a text encoder's states (Rombach et al., CVPR 2022).

    A condition is a row of the installed ``context``. Where ``model_index.json`` names a ``patch``, the model has no
    VAE and works on pixels; the embedded prior does.
    """

    kind = "UNet2DConditionModel"

    def space(self, source: ModelSource, dtype: torch.dtype) -> LatentSpace:
        if Path(source.path).is_dir() and not (Path(source.path) / "vae").is_dir():
            patch = source.model_index().get("patch")
            if patch:
                return PixelSpace(int(patch))
        return VAESpace(source, dtype)

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        context = self.embeddings(conditions)["context"]
        return self.network(noisy, time, encoder_hidden_states=context).sample


class StableDiffusionXL(StableDiffusion):
    """The same with a pooled embedding and size and crop ids (Podell et al. 2024).

    Images count as uncropped originals of the model's own size: the condition of its well-framed training images.
    """

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        rows = self.embeddings(conditions)
        height, width = (side * self.latents.downsampling for side in noisy.shape[2:])
        # original size, top-left corner of the crop, target size
        ids = torch.tensor([height, width, 0, 0, height, width], dtype=noisy.dtype, device=noisy.device)
        added = {"text_embeds": rows["pooled"], "time_ids": ids.expand(len(noisy), -1)}
        return self.network(noisy, time, encoder_hidden_states=rows["context"], added_cond_kwargs=added).sample


class StableDiffusion3(_Prior):
    """Stable Diffusion 3: a transformer of two streams, for flow matching (Esser et al., ICML 2024).

    A condition is a row of the installed ``context`` and ``pooled``.
    """

    kind, part = "SD3Transformer2DModel", "transformer"

    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        rows = self.embeddings(conditions)
        return self.network(
            noisy, timestep=time, encoder_hidden_states=rows["context"], pooled_projections=rows["pooled"]
        ).sample

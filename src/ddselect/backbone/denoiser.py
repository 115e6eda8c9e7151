"""The one interface that scoring sees: latents in, denoising loss per position out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ddselect.backbone.latents import LatentSpace, latent_side
from ddselect.backbone.schedule import NoiseSchedule
from ddselect.runtime.errors import UserError
from ddselect.runtime.hardware import convolution_layout


class Denoiser(nn.Module, ABC):
    """A pre-trained diffusion model.

    A condition is a number: a class index of a class-conditional model, a row of the installed table of embeddings for
    a text-conditional one; an unconditional model ignores it.

    Attributes:
        title: Name for messages.
        network: What predicts, in ``dtype``.
        latents: What it predicts in.
        schedule: Forward process and parameterisation.
        dtype: Precision of the network's weights and arithmetic; noise, noising and loss are float32 always.
        latent_channels: Channels of a latent.
        config: The network's own config.
        is_compiled: Whether the network is compiled when first called; it then wants batches of one size only.
    """

    part: ClassVar[str] = "unet"  # folder of the network in the model's layout

    def __init__(
        self, title: str, network: nn.Module, latents: LatentSpace, schedule: NoiseSchedule, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.title, self.dtype = title, dtype
        model = cast(Any, network)  # untyped: a ModelMixin of diffusers
        self.network: nn.Module = model.to(memory_format=convolution_layout(network))
        self.latents, self.schedule = latents, schedule
        self.config: dict[str, Any] = dict(model.config)
        self.latent_channels = int(self.config["in_channels"])
        self.is_compiled = False
        self._table: list[str] = []

    def install(self, table: Mapping[str, Tensor]) -> None:
        """Gives a text-conditional model its conditions: tensors whose rows belong to one condition each."""
        for name, rows in table.items():
            self.register_buffer(f"condition_{name}", rows.to(self.device, self.dtype), persistent=False)
        self._table = list(table)

    def embeddings(self, conditions: Tensor) -> dict[str, Tensor]:
        """The installed rows of (N,) conditions, by name."""
        return {name: getattr(self, f"condition_{name}")[conditions] for name in self._table}

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def remedy(self) -> str:
        """What to try where something that it gives is not finite."""
        if self.dtype == torch.float32:
            return "its weights may be damaged: fetch them again, or choose another backbone"
        return "try backbone.dtype=fp32"

    @abstractmethod
    def call_network(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        """The network's raw output in its own precision.

        Of (N, C, h, w) latents z_t in that precision, (N,) what the network is told about the timesteps, and (N,) int64
        conditions.
        """

    def predict(self, noisy: Tensor, timesteps: Tensor, conditions: Tensor) -> Tensor:
        """The prediction (N, C, h, w) float32 for float32 latents z_t, (N,) timesteps and (N,) conditions.

        Where the network predicts a variance too (learned sigma), that second half of its channels is dropped.
        """
        output = self.call_network(noisy.to(self.dtype), self.schedule.time[timesteps], conditions)
        return output[:, : self.latent_channels].float()

    @property
    def middle(self) -> nn.Module:
        """The part of the network at half its depth: the middle block of a UNet, the middle one of a transformer's.

        Raises:
            UserError: The network has none.
        """
        blocks = getattr(self.network, "transformer_blocks", None)
        block = (
            getattr(self.network, "mid_block", None) if blocks is None else cast(Any, blocks)[(len(blocks) - 1) // 2]
        )
        if not isinstance(block, nn.Module):
            raise UserError(f"backbone {self.title}: its network has no middle block; use embed=teacher")
        return block

    def middle_activations(self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditions: Tensor) -> Tensor:
        """(N, D) float32 output of the network's middle, averaged over positions; one evaluation of the network.

        What it takes is as in :meth:`error`.
        """
        kept: list[Any] = []
        hook = self.middle.register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            self.predict(self.schedule.add_noise(latents, noise, timesteps), timesteps, conditions)
        finally:
            hook.remove()
        output: Tensor = kept[0][-1] if isinstance(kept[0], tuple) else kept[0]  # of two streams, that of the image
        return output.float().flatten(2).mean(2) if output.dim() == 4 else output.float().mean(1)

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 images to (N, C, h, w) float32 latents z0."""
        return self.latents.encode(images)

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """(C, h, w) of the latents of square images.

        Raises:
            UserError: The size does not suit the model.
        """
        side = latent_side(self.title, self.config, self.latents.downsampling, image_size)
        return self.latent_channels, side, side

    def loss(self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditions: Tensor) -> Tensor:
        """Squared error of the prediction, averaged over channels: (N, h, w) float32 (docs/concepts/score.md)."""
        return self.error(latents, noise, timesteps, conditions).pow(2).mean(1)

    def error(self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditions: Tensor) -> Tensor:
        """The prediction minus what it should be: (N, C, h, w) float32.

        Latents z0 and standard normal noise are (N, C, h, w) float32, timesteps and conditions (N,) int64.
        """
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        prediction = self.predict(noisy, timesteps, conditions)
        return prediction - self.schedule.target(latents, noise, timesteps)

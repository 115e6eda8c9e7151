"""The one interface that scoring sees: latents in, denoising loss per position out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddselect.backbone.schedule import NoiseSchedule
from ddselect.runtime.errors import UserError


class Denoiser(nn.Module, ABC):
    """A pre-trained class-conditional diffusion model.

    Attributes:
        title: Name for messages.
        schedule: Forward process and parameterisation.
        dtype: Precision of the network; noise, noising and loss are float32 always.
        latent_channels: Channels of a latent.
        downsampling: Image pixels per latent position and side.
        null_class: Index of the class that stands for no condition.
    """

    title: str
    schedule: NoiseSchedule
    dtype: torch.dtype
    latent_channels: int
    downsampling: int
    null_class: int

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 images to (N, C, h, w) float32 latents z0: the mean, scaled; no sampling."""

    @abstractmethod
    def predict(self, noisy: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """The network's raw prediction (N, C, h, w) float32 for latents z_t, (N,) timesteps and (N,) class indices."""

    @abstractmethod
    def class_indices(self, class_names: Sequence[str], class_folders: Sequence[str]) -> list[int]:
        """The model's own indices of a dataset's classes.

        Raises:
            UserError: The model does not know one of them.
        """

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """(C, h, w) of the latents of square images.

        Raises:
            UserError: The size does not suit the model.
        """
        if image_size % self.downsampling:
            raise UserError(f"backbone {self.title}: image size {image_size} is not a multiple of {self.downsampling}")
        side = image_size // self.downsampling
        return self.latent_channels, side, side

    def loss(self, latents: Tensor, noise: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """Squared error of the prediction, averaged over channels: (N, h, w) float32 (METHOD, section 1).

        Args:
            latents: (N, C, h, w) float32 z0.
            noise: (N, C, h, w) float32 standard normal.
            timesteps: (N,) int64.
            classes: (N,) int64 class indices of the model.
        """
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        prediction = self.predict(noisy, timesteps, classes)
        return (prediction - self.schedule.target(latents, noise, timesteps)).pow(2).mean(1)

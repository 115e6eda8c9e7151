"""A class-conditional UNet2DModel in pixel space; the embedded prior is one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.loading import ModelSource
from ddselect.runtime.errors import UserError
from ddselect.runtime.hardware import convolution_layout


class ClassUNet(Denoiser):
    """Wraps a UNet with class embedding, whose last class is the null class.

    ``model_index.json`` beside it says its class names (``id2label``) and how many pixels per side space-to-depth folds
    into channels (``patch``).
    """

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        super().__init__()
        index = source.model_index()
        if "id2label" not in index:
            raise UserError(
                f"backbone {source.title}: {source.path}/model_index.json with 'id2label' is missing; "
                "give the folder of a class-conditional UNet with backbone.path=<folder>"
            )
        self.unet: UNet2DModel = source.part(UNet2DModel, "unet").float().to(memory_format=convolution_layout())
        self.schedule = source.schedule()
        self.title, self.dtype = source.title, dtype
        self.names = [str(name) for _, name in sorted(index["id2label"].items(), key=lambda item: int(item[0]))]
        self.downsampling = int(index.get("patch", 1))
        self.latent_channels = int(self.unet.config["in_channels"])
        self.null_class = len(self.names)
        if int(self.unet.config["num_class_embeds"] or 0) != len(self.names) + 1:
            raise UserError(f"backbone {source.title}: the UNet needs one class embedding more than class names (null)")

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        multiple = self.downsampling * 2 ** (len(self.unet.config["block_out_channels"]) - 1)
        if image_size % multiple:
            raise UserError(f"backbone {self.title}: image size {image_size} is not a multiple of {multiple}")
        return super().latent_shape(image_size)

    def encode(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images.float() / 127.5 - 1, self.downsampling)

    def predict(self, noisy: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        with torch.autocast(noisy.device.type, self.dtype, enabled=self.dtype != torch.float32):
            sample: Tensor = self.unet(noisy, timesteps, class_labels=classes).sample
        return sample.float()

    def class_indices(self, class_names: Sequence[str], class_folders: Sequence[str]) -> list[int]:
        unknown = [name for name in class_names if name not in self.names]
        if unknown:
            known = ", ".join(self.names[:10])
            raise UserError(
                f"backbone {self.title} knows the classes {known}, not '{unknown[0]}'; use prompt=none, "
                "backbone=dit_xl_2_256 for ImageNet classes, or a prior trained on these classes (backbone=class_unet)"
            )
        return [self.names.index(name) for name in class_names]

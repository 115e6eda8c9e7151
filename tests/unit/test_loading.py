"""Which files of a model on the hub are fetched."""

import pytest
from huggingface_hub.utils import filter_repo_objects

from ddselect.backbone.loading import ModelSource

UNET = "unet/diffusion_pytorch_model"
FILES = [
    "model_index.json",
    "tokenizer/merges.txt",
    "v1-5-pruned-emaonly.safetensors",
    "v1-5-pruned.ckpt",
    "unet/config.json",
    f"{UNET}.safetensors",
    f"{UNET}.bin",
    f"{UNET}.fp16.safetensors",
    f"{UNET}.non_ema.safetensors",
    "text_encoder_3/model-00001-of-00002.safetensors",
    "text_encoder_3/model.fp16-00001-of-00002.safetensors",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
]
TEXTS = {"model_index.json", "tokenizer/merges.txt", "unet/config.json"}


@pytest.mark.parametrize(
    ("variant", "weights"),
    [
        (
            "",
            {
                f"{UNET}.safetensors",
                "text_encoder_3/model-00001-of-00002.safetensors",
                "diffusion_pytorch_model.safetensors",
            },
        ),
        (
            "fp16",
            {
                f"{UNET}.fp16.safetensors",
                "text_encoder_3/model.fp16-00001-of-00002.safetensors",
                "diffusion_pytorch_model.fp16.safetensors",
            },
        ),
    ],
)
def test_only_the_parts_in_the_wanted_variant_are_fetched(variant: str, weights: set[str]) -> None:
    wanted = ModelSource("owner/model", "model", variant).wanted_files()
    assert set(filter_repo_objects(FILES, **wanted)) == TEXTS | weights

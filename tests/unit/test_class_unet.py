"""A class-conditional UNet from a folder as ``ddselect.backbone.train`` writes it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from ddselect.backbone.choice import ClassUNetBackbone
from ddselect.backbone.denoiser import Denoiser
from ddselect.runtime.errors import UserError
from tests.helpers.models import CPU, load_class_unet, write_class_unet


def gradient_image(side: int) -> torch.Tensor:
    """Every pixel and channel is another number."""
    return torch.arange(3 * side * side, dtype=torch.uint8).view(1, 3, side, side)


def test_latents_are_pixels_folded_into_channels(unet: Denoiser) -> None:
    image = gradient_image(8)
    latent = unet.encode(image)
    assert unet.latent_shape(16) == (12, 8, 8)
    assert latent.shape == (1, 12, 4, 4)
    assert latent.dtype == torch.float32
    for channel in range(3):
        for y in range(8):
            for x in range(8):
                folded = latent[0, channel * 4 + (y % 2) * 2 + x % 2, y // 2, x // 2]
                assert folded.item() == pytest.approx(image[0, channel, y, x].item() / 127.5 - 1, abs=1e-6)


def test_null_class_follows_the_classes_and_classes_matter(unet: Denoiser) -> None:
    assert unet.null_class == 3
    noisy = torch.randn(1, 12, 8, 8, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1)
    prediction = unet.predict(noisy, torch.full((4,), 300), torch.arange(4))
    assert prediction.shape == noisy.shape
    assert prediction.dtype == torch.float32
    for a in range(4):
        for b in range(a):
            assert (prediction[a] - prediction[b]).abs().max() > 1e-4


def test_loss_is_the_channel_mean_of_the_squared_error(unet: Denoiser) -> None:
    generator = torch.Generator().manual_seed(1)
    latents, noise = torch.randn(2, 12, 8, 8, generator=generator), torch.randn(2, 12, 8, 8, generator=generator)
    timesteps, classes = torch.tensor([100, 700]), torch.tensor([0, 3])
    alpha = unet.schedule.alphas_cumprod[timesteps].view(2, 1, 1, 1)
    prediction = unet.predict(alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise, timesteps, classes)
    torch.testing.assert_close(unet.loss(latents, noise, timesteps, classes), ((prediction - noise) ** 2).mean(1))


def test_fp16_weights_are_computed_in_fp32(unet: Denoiser) -> None:
    assert {p.dtype for p in unet.parameters()} == {torch.float32}
    assert not unet.training
    assert not any(p.requires_grad for p in unet.parameters())


def test_classes_are_found_by_name_in_any_order(unet: Denoiser) -> None:
    assert unet.class_indices(["cow", "ant"], ["n2", "n1"]) == [2, 0]  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="knows the classes ant, bee, cow, not 'dog'; use prompt=none"):
        unet.class_indices(["ant", "dog"], ["ant", "dog"])


def test_more_than_nine_classes_stay_in_numeric_order(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(12)]
    write_class_unet(tmp_path, names)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["id2label"] = dict(sorted(index["id2label"].items()))  # "10" before "2"
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert load_class_unet(tmp_path).class_indices(names, names) == list(range(12))


def test_image_size_must_suit_the_patch(unet: Denoiser) -> None:
    with pytest.raises(UserError, match="image size 15 is not a multiple of"):
        unet.latent_shape(15)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("model_index.json", "backbone tiny: .*model_index.json.* is missing"),
        ("unet/config.json", "backbone tiny: cannot load folder .*unet"),
        ("unet/diffusion_pytorch_model.safetensors", "backbone tiny: cannot load folder .*unet"),
        ("scheduler/scheduler_config.json", "backbone tiny: cannot load folder .*scheduler"),
    ],
)
def test_a_missing_file_is_one_line(unet_folder: Path, tmp_path: Path, missing: str, words: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(unet_folder, folder)
    (folder / missing).unlink()
    with pytest.raises(UserError, match=words) as caught:
        load_class_unet(folder)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_loaded(unet_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(unet_folder, folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(load_class_unet(unet_folder).unet.state_dict(), folder / "unet" / "diffusion_pytorch_model.bin")  # type: ignore[union-attr]
    with pytest.raises(UserError, match="cannot load folder"):
        load_class_unet(folder)


def test_a_damaged_model_index_is_one_line(unet_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(unet_folder, folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(UserError, match=r"model_index.json"):
        load_class_unet(folder)


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"backbone.path="):
        load_class_unet(tmp_path / "nowhere")


def test_image_size_must_suit_the_unets_levels(unet: Denoiser) -> None:
    """Two levels on 9 x 9 latents: the network itself fails with a RuntimeError."""
    with pytest.raises(UserError, match="image size 18"):
        unet.latent_shape(18)


def test_class_names_must_fit_the_embedding(unet_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(unet_folder, folder)
    (folder / "model_index.json").write_text(json.dumps({"id2label": {"0": "ant"}, "patch": 2}))
    with pytest.raises(UserError, match="one class embedding more than class names"):
        load_class_unet(folder)


def test_precisions(unet_folder: Path, unet: Denoiser) -> None:
    with pytest.raises(UserError, match=r"backbone.dtype=int8: choose one of auto, fp32, bf16, fp16"):
        ClassUNetBackbone("tiny", str(unet_folder), 16, "int8")
    assert ClassUNetBackbone("tiny", "x", 16, "auto").dtype in ("fp32", "bf16")
    half = ClassUNetBackbone("tiny", str(unet_folder), 16, "bf16").load(CPU)
    noisy, timesteps, classes = torch.ones(1, 12, 8, 8), torch.tensor([500]), torch.tensor([1])
    exact, rough = unet.predict(noisy, timesteps, classes), half.predict(noisy, timesteps, classes)
    assert rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().max() < 0.1

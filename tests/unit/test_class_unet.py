"""A UNet2DModel in pixel space from a folder, class-conditional or not."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from ddselect.backbone.denoiser import Denoiser
from ddselect.prompt.modes import LabelPromptConfig
from ddselect.runtime.errors import UserError
from tests.helpers.models import CPU, class_unet, load_class_unet, write_class_unet, write_ddpm


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


def test_null_class_follows_the_classes_and_classes_matter(unet: Denoiser, unet_folder: Path) -> None:
    assert class_unet(unet_folder).null_class() == 3
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
    signal, sigma = unet.schedule.signal[timesteps].view(2, 1, 1, 1), unet.schedule.sigma[timesteps].view(2, 1, 1, 1)
    prediction = unet.predict(signal * latents + sigma * noise, timesteps, classes)
    torch.testing.assert_close(unet.loss(latents, noise, timesteps, classes), ((prediction - noise) ** 2).mean(1))


def test_fp16_weights_are_computed_in_fp32(unet: Denoiser) -> None:
    assert {p.dtype for p in unet.parameters()} == {torch.float32}
    assert not unet.training
    assert not any(p.requires_grad for p in unet.parameters())


def test_the_network_is_told_the_number_of_the_timestep(unet: Denoiser) -> None:
    noisy, timesteps, classes = torch.ones(2, 12, 8, 8), torch.tensor([100, 700]), torch.tensor([0, 3])
    with torch.no_grad():
        direct = unet.network(noisy, torch.tensor([100, 700]), class_labels=classes).sample
    assert torch.equal(unet.predict(noisy, timesteps, classes), direct)


def test_under_flow_matching_the_network_is_told_the_noise_level(unet_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(unet_folder, folder)
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    denoiser, generator = load_class_unet(folder), torch.Generator().manual_seed(2)
    latents, noise = torch.randn(2, 12, 8, 8, generator=generator), torch.randn(2, 12, 8, 8, generator=generator)
    classes = torch.tensor([0, 3])
    sigma = torch.tensor([0.5, 0.75])  # 3 x / (1 + 2 x) for x = 1/4 and 1/2, steps 249 and 499
    mixed = (1 - sigma).view(2, 1, 1, 1) * latents + sigma.view(2, 1, 1, 1) * noise
    with torch.no_grad():
        velocity = denoiser.network(mixed, torch.tensor([500.0, 750.0]), class_labels=classes).sample
    loss = denoiser.loss(latents, noise, torch.tensor([249, 499]), classes)
    torch.testing.assert_close(loss, (velocity - (noise - latents)).pow(2).mean(1), atol=1e-5, rtol=1e-5)


def test_classes_are_found_by_name_in_any_order(unet_folder: Path) -> None:
    backbone = class_unet(unet_folder)
    assert backbone.indices(["cow", "ant"], ["n2", "n1"]) == ([2, 0], 3)
    with pytest.raises(UserError, match="knows the classes ant, bee, cow, not 'dog'; use prompt=none"):
        backbone.indices(["ant", "dog"], ["ant", "dog"])


def test_more_than_nine_classes_stay_in_numeric_order(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(12)]
    write_class_unet(tmp_path, names)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["id2label"] = dict(sorted(index["id2label"].items()))  # "10" before "2"
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert class_unet(tmp_path).indices(names, names) == (list(range(12)), 12)


def test_image_size_must_suit_the_patch(unet: Denoiser) -> None:
    with pytest.raises(UserError, match="image size 15 is not a multiple of"):
        unet.latent_shape(15)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("model_index.json", r"cannot load \S+/model/model_index\.json: no such file$"),
        ("unet/config.json", r"cannot load \S+/model/unet: no config\.json$"),
        ("unet/diffusion_pytorch_model.safetensors", r"cannot load \S+/model/unet: \S.* no file named \S+safetensors"),
        ("scheduler/scheduler_config.json", r"cannot load \S+/model/scheduler/scheduler_config\.json: no such file$"),
    ],
)
def test_a_missing_file_is_one_line(unet_folder: Path, tmp_path: Path, missing: str, words: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(unet_folder, folder)
    (folder / missing).unlink()
    with pytest.raises(UserError, match=f"^backbone tiny: {words}") as caught:
        load_class_unet(folder)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_loaded(unet_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(unet_folder, folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    state = load_class_unet(unet_folder).network.state_dict()
    torch.save(state, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"^backbone tiny: cannot load \S+/model/unet: "):
        load_class_unet(folder)


def test_a_damaged_model_index_is_one_line(unet_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(unet_folder, folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(UserError, match=r"^backbone tiny: \S+/model_index\.json is damaged \(.+\)$"):
        load_class_unet(folder)


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"backbone.path="):
        load_class_unet(tmp_path / "nowhere")


def test_image_size_must_suit_the_unets_levels(unet: Denoiser) -> None:
    """Two levels on 9 x 9 latents: the network itself fails with a RuntimeError."""
    with pytest.raises(UserError, match="image size 18"):
        unet.latent_shape(18)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"id2label": {"0": "ant"}, "patch": 2}, "4 class embeddings for 1 class names; one more is needed"),
        ({"patch": 2}, r"/model_index.json does not say which classes it knows \('id2label'"),
    ],
)
def test_class_names_must_fit_the_embedding(
    unet_folder: Path, tmp_path: Path, index: dict[str, object], words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(unet_folder, folder)
    (folder / "model_index.json").write_text(json.dumps(index))
    for use in (class_unet(folder).indices, lambda *names: class_unet(folder).check(LabelPromptConfig(), *names)):
        with pytest.raises(UserError, match=words):
            use(["ant"], ["ant"])


def test_precisions(unet_folder: Path, unet: Denoiser) -> None:
    with pytest.raises(UserError, match=r"backbone.dtype=int8: choose one of auto, fp32, bf16, fp16"):
        class_unet(unet_folder, dtype="int8")
    assert class_unet(unet_folder, dtype="auto").dtype in ("fp32", "bf16")
    half = class_unet(unet_folder, dtype="bf16").load(CPU)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    noisy, timesteps, classes = torch.ones(1, 12, 8, 8), torch.tensor([500]), torch.tensor([1])
    exact, rough = unet.predict(noisy, timesteps, classes), half.predict(noisy, timesteps, classes)
    assert rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().max() < 0.1


def test_latents_noise_and_loss_are_fp32_whatever_the_network_is(unet_folder: Path, unet: Denoiser) -> None:
    """Only the network rounds: noisy latents that bf16 cannot tell apart would make the loss a step function."""
    half, seen = class_unet(unet_folder, dtype="bf16").load(CPU), []
    latents = half.encode(gradient_image(16))
    assert torch.equal(latents, unet.encode(gradient_image(16)))
    half.predict = lambda noisy, *_: seen.append(noisy) or torch.zeros_like(noisy)  # type: ignore[method-assign]
    noise = torch.randn(1, 12, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = half.loss(latents, noise, torch.tensor([500]), torch.tensor([1]))
    assert {seen[0].dtype, loss.dtype} == {torch.float32}
    torch.testing.assert_close(loss, noise.pow(2).mean(1))


def test_an_unconditional_unet_in_the_root_of_its_folder(tmp_path: Path) -> None:
    """As google/ddpm-cifar10-32: no subfolders, no classes, no patch, betas of its own."""
    backbone = class_unet(write_ddpm(tmp_path))
    ddpm = backbone.load(CPU)
    assert backbone.null_class() == 0
    assert ddpm.latent_shape(16) == (3, 16, 16)
    image = gradient_image(16)
    torch.testing.assert_close(ddpm.encode(image), image / 255 * 2 - 1)
    assert float(ddpm.schedule.sigma[0]) == pytest.approx(0.0001**0.5, rel=1e-4)
    noisy = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    prediction = ddpm.predict(noisy, torch.full((2,), 300), torch.tensor([0, 7]))
    assert torch.equal(prediction[0], prediction[1])  # whatever the condition
    assert prediction.std() > 1e-3

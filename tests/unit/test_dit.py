"""A DiT with its VAE from a folder in the diffusers layout."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel

from ddselect.backbone.denoiser import Denoiser
from ddselect.prompt.modes import LabelPromptConfig
from ddselect.runtime.errors import UserError
from ddselect.scoring.draws import Draws
from ddselect.scoring.scorer import difference_maps
from tests.helpers.models import CPU, dit, load_dit, write_dit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dit(tmp_path_factory.mktemp("dit"))


@pytest.fixture(scope="module")
def denoiser(folder: Path) -> Denoiser:
    return load_dit(folder)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_latents_are_the_scaled_mean_of_the_vae(folder: Path, denoiser: Denoiser, images: torch.Tensor) -> None:
    latents = denoiser.encode(images)
    assert denoiser.latent_shape(8) == tuple(latents.shape[1:]) == (4, 4, 4)
    assert torch.equal(latents, denoiser.encode(images))  # no sampling
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    with torch.no_grad():
        moments = vae.quant_conv(vae.encoder(images / 255 * 2 - 1))
    torch.testing.assert_close(latents, moments[:, :4] * 0.18215)


def test_scaling_and_shift_come_from_the_vaes_own_config(folder: Path, tmp_path: Path, images: torch.Tensor) -> None:
    plain = load_dit(folder).encode(images)
    shutil.copytree(folder, tmp_path / "m")
    file = tmp_path / "m" / "vae" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "scaling_factor": 1.5, "shift_factor": 0.25}))
    torch.testing.assert_close(load_dit(tmp_path / "m").encode(images), (plain / 0.18215 - 0.25) * 1.5)


def test_learned_sigma_is_dropped(folder: Path, denoiser: Denoiser) -> None:
    noisy = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    timesteps, classes = torch.tensor([100, 600]), torch.tensor([7, 1000])
    transformer = DiTTransformer2DModel.from_pretrained(folder / "transformer").eval()
    with torch.no_grad():
        raw = transformer(noisy, timestep=timesteps, class_labels=classes).sample
    prediction = denoiser.predict(noisy, timesteps, classes)
    assert raw.shape == (2, 8, 4, 4)
    torch.testing.assert_close(prediction, raw[:, :4])
    assert not torch.allclose(prediction, raw[:, 4:], atol=1e-3)


def test_null_class_is_1000_and_differs_from_every_class(folder: Path, denoiser: Denoiser) -> None:
    assert dit(folder).null_class() == 1000
    noisy = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1, -1)
    prediction = denoiser.predict(noisy, torch.full((3,), 300), torch.tensor([0, 999, 1000]))
    assert (prediction[0] - prediction[2]).abs().max() > 1e-5
    assert (prediction[1] - prediction[2]).abs().max() > 1e-5


def test_evaluation_mode_never_drops_the_label(denoiser: Denoiser) -> None:
    noisy, classes = torch.ones(64, 4, 4, 4), torch.zeros(64, dtype=torch.int64)
    prediction = denoiser.predict(noisy, torch.full((64,), 300), classes)
    torch.testing.assert_close(prediction, prediction[:1].expand_as(prediction), atol=1e-6, rtol=0)


def test_scores_need_no_pixels(denoiser: Denoiser, images: torch.Tensor) -> None:
    draws = Draws(2, True, (0.1, 0.7), 0)
    both = difference_maps(denoiser, denoiser.encode(images), ["a", "b"], torch.tensor([1, 2]), 1000, draws)
    one = difference_maps(denoiser, denoiser.encode(images[1:]), ["b"], torch.tensor([2]), 1000, draws)
    assert both.difference.shape == (2, 4, 4)
    torch.testing.assert_close(both.difference[1:], one.difference, atol=1e-6, rtol=0)


def test_classes_are_imagenets_by_wordnet_id(folder: Path) -> None:
    folders = ["n01440764", "n15075141", "n02102040"]  # tench, toilet tissue, English springer
    assert dit(folder).indices(["a", "b", "c"], folders) == ([0, 999, 217], 1000)
    conditions = dit(folder).conditions(LabelPromptConfig(), ["a", "b", "c"], folders, CPU)
    assert conditions.positive == [0, 999, 217]
    assert conditions.reference == 1000
    for use in (dit(folder).indices, lambda *names: dit(folder).check(LabelPromptConfig(), *names)):
        with pytest.raises(UserError, match=r"ImageNet-1K classes only: class folder 'cat' .*use prompt=none"):
            use(["cat"], ["cat"])


def test_the_vae_is_fp32_where_its_config_asks(folder: Path, tmp_path: Path, images: torch.Tensor) -> None:
    exact = load_dit(folder).encode(images)
    half = dit(folder, dtype="bf16").load(CPU)
    assert {p.dtype for p in half.network.parameters()} == {torch.bfloat16}
    assert torch.equal(half.encode(images), exact)
    shutil.copytree(folder, tmp_path / "m")
    file = tmp_path / "m" / "vae" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "force_upcast": False}))
    rough = dit(tmp_path / "m", dtype="bf16").load(CPU).encode(images)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_wrong_image_size_says_the_right_one(denoiser: Denoiser) -> None:
    with pytest.raises(UserError, match=r"tiny DiT takes 8 px, not 16: set backbone.image_size=8"):
        denoiser.latent_shape(16)


@pytest.mark.parametrize(
    ("part", "place"),
    [("transformer", "transformer"), ("vae", r"vae/config\.json"), ("scheduler", r"scheduler/scheduler_config\.json")],
)
def test_a_missing_part_is_one_line(folder: Path, tmp_path: Path, part: str, place: str) -> None:
    shutil.copytree(folder, tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / part)
    with pytest.raises(UserError, match=rf"^backbone tiny DiT: cannot load \S+/m/{place}: no ") as caught:
        load_dit(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_truncated_weights_are_one_line(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    file = tmp_path / "m" / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"^backbone tiny DiT: cannot load \S+/m/transformer: ") as caught:
        load_dit(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_an_unknown_model_says_how_to_get_it() -> None:
    with pytest.raises(UserError, match=r"`hf download nobody/nothing`.*backbone.path=<folder>"):
        load_dit(Path("nobody/nothing"))

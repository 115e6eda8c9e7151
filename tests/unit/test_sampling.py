"""Sampling from a prior: against the steps of diffusers' samplers, and what guidance and strength mean."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ddselect.backbone.choice import StableDiffusion3Config, StableDiffusionConfig
from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.latents import PixelSpace
from ddselect.backbone.sampling import sample
from ddselect.backbone.schedule import NoiseSchedule
from tests.helpers.families import Family, write_sd3, write_sd15

NOISE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1])


@dataclass
class Linear:
    """A prior whose prediction is a share of z_t plus its condition."""

    schedule: NoiseSchedule
    limit: float | None = None
    seen: list[tuple[list[int], list[int]]] = field(default_factory=list)

    @property
    def latents(self) -> Any:
        return SimpleNamespace(limit=self.limit)

    def predict(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        self.seen.append((time.tolist(), conditions.tolist()))
        return self.answer(noisy, conditions)

    @staticmethod
    def answer(noisy: Tensor, conditions: Tensor) -> Tensor:
        return 0.7 * noisy + 0.1 * conditions.view(-1, 1, 1, 1)


def linear(prediction_type: str = "epsilon", limit: float | None = None) -> Linear:
    config = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.0009, "beta_end": 0.012}
    return Linear(NoiseSchedule({**config, "prediction_type": prediction_type}), limit)


def run(prior: Linear, **options: Any) -> Tensor:
    settings = {"noise": NOISE, "positive": LABELS, "reference": None, "guidance": 1.0, "steps": 10, **options}
    return sample(cast(Denoiser, prior), **settings)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("clipped", [False, True])
def test_the_steps_are_those_of_ddim(prediction_type: str, clipped: bool) -> None:
    prior = linear(prediction_type, 1.0 if clipped else None)
    ddim = DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.0009, beta_end=0.012,
        clip_sample=clipped, set_alpha_to_one=True, prediction_type=prediction_type, timestep_spacing="trailing",
    )  # fmt: skip
    ddim.set_timesteps(10)
    noisy = NOISE
    for time in ddim.timesteps:
        noisy = ddim.step(prior.answer(noisy, LABELS), time, noisy).prev_sample
    torch.testing.assert_close(run(prior), noisy, rtol=1e-4, atol=1e-4)
    assert [times[0] for times, _ in prior.seen] == ddim.timesteps.tolist()


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_steps_of_a_flow_are_eulers(shift: float) -> None:
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": shift}
    prior = Linear(NoiseSchedule(config))
    times = [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    euler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
    euler.set_timesteps(sigmas=prior.schedule.sigma[times].tolist())
    noisy = NOISE
    for time in euler.timesteps:
        noisy = euler.step(prior.answer(noisy, LABELS), time, noisy).prev_sample
    torch.testing.assert_close(run(prior), noisy, rtol=1e-4, atol=1e-4)


def test_guidance_leads_away_from_the_reference() -> None:
    prior = linear()
    guided = run(prior, reference=5, guidance=3.0, steps=1)
    assert prior.seen[0][1] == [0, 1, 5, 5]  # both in one call
    predictions = [prior.answer(NOISE, labels) for labels in (LABELS, torch.tensor([5, 5]))]
    wanted = predictions[1] + 3 * (predictions[0] - predictions[1])
    torch.testing.assert_close(guided, prior.schedule.split(NOISE, wanted, torch.tensor([999, 999]))[0])
    torch.testing.assert_close(run(linear(), reference=5, guidance=1.0), run(linear()))


def test_a_start_is_noised_to_the_strength() -> None:
    prior, start = linear(), torch.full((2, 3, 4, 4), 0.3)
    run(prior, start=start, strength=0.6, steps=3)
    assert [times[0] for times, _ in prior.seen] == [599, 399, 199]
    weak = run(linear(), start=start, strength=0.001, steps=1)  # the first step of the schedule alone
    torch.testing.assert_close(weak, start, rtol=0, atol=0.1)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow"])
def test_a_target_splits_into_what_it_was_made_of(kind: str) -> None:
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 10, "shift": 2.0}
    schedule = NoiseSchedule(flow) if kind == "flow" else linear(kind).schedule
    clean, times = torch.linspace(-1, 1, NOISE.numel()).view_as(NOISE), torch.tensor([3, 7])
    noisy = schedule.add_noise(clean, NOISE, times)
    found = schedule.split(noisy, schedule.target(clean, NOISE, times), times)
    torch.testing.assert_close(found[0], clean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], NOISE, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shifted", [False, True])
def test_latents_of_a_vae_are_decoded_with_its_own_scaling(shifted: bool, tmp_path: Path) -> None:
    if shifted:
        write_sd3(tmp_path)
        backbone = Family("sd3", write_sd3, StableDiffusion3Config).settings(tmp_path)
    else:
        write_sd15(tmp_path)
        backbone = Family("sd15", write_sd15, StableDiffusionConfig).settings(tmp_path)
    latents = backbone.load(torch.device("cpu")).latents
    images = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(1)).byte()
    vae = AutoencoderKL.from_pretrained(tmp_path / "vae")
    with torch.no_grad():
        pixels = vae.decode(vae.encode(images / 127.5 - 1).latent_dist.mean).sample
        decoded = latents.decode(latents.encode(images))
    assert decoded.dtype == torch.uint8
    torch.testing.assert_close(decoded.float(), ((pixels + 1) * 127.5).clamp(0, 255), rtol=0, atol=0.51)


def test_pixels_come_back_exactly() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
    space = PixelSpace(2)
    assert torch.equal(space.decode(space.encode(images)), images)

"""Noising and targets against numbers computed by hand.

Betas .36 and .4375 give alpha_bar .64 and .36: signal and noise coefficients (.8, .6) and (.6, .8). A flow of four
steps has the sigmas 1/4 to 4/4; a shift of s makes s sigma / (1 + (s - 1) sigma) of them.
"""

from math import cos, pi

import numpy as np
import pytest
import torch

from ddselect.backbone.blueprint import COSINE
from ddselect.backbone.schedule import NoiseSchedule, stratified_timesteps
from ddselect.runtime.errors import UserError


def schedule(prediction_type: str) -> NoiseSchedule:
    return NoiseSchedule(
        {"num_train_timesteps": 2, "trained_betas": [0.36, 0.4375], "prediction_type": prediction_type}
    )


def flow(shift: float) -> NoiseSchedule:
    return NoiseSchedule({"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 4, "shift": shift})


Z0 = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
EPS = torch.tensor([-1.0, 0.5]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
T = torch.tensor([0, 1])


def test_coefficients_of_a_diffusion() -> None:
    s = schedule("epsilon")
    assert len(s) == 2
    torch.testing.assert_close(s.signal, torch.tensor([0.8, 0.6]))
    torch.testing.assert_close(s.sigma, torch.tensor([0.6, 0.8]))
    assert s.time.tolist() == [0, 1]
    assert s.time.dtype == torch.int64


@pytest.mark.parametrize(
    ("shift", "sigma", "time"),
    [
        (1.0, [0.25, 0.5, 0.75, 1.0], [1.0, 2.0, 3.0, 4.0]),
        (3.0, [0.5, 0.75, 0.9, 1.0], [2.0, 3.0, 3.6, 4.0]),  # .75 / 1.5    1.5 / 2    2.25 / 2.5    3 / 3
    ],
)
def test_coefficients_of_a_flow(shift: float, sigma: list[float], time: list[float]) -> None:
    s = flow(shift)
    assert (len(s), s.prediction_type) == (4, "flow")
    torch.testing.assert_close(s.sigma, torch.tensor(sigma))
    torch.testing.assert_close(s.signal, 1 - torch.tensor(sigma))
    torch.testing.assert_close(s.time, torch.tensor(time))
    assert {s.sigma.dtype, s.signal.dtype, s.time.dtype} == {torch.float32}


@pytest.mark.parametrize(
    ("shift", "noisy"),
    [
        (1.0, [0.5, 0.5]),  # .75 * 1 - .25 * 1     0 * 2 + 1 * .5
        (3.0, [0.0, 0.5]),  # .5 * 1 - .5 * 1
    ],
)
def test_flow_matching(shift: float, noisy: list[float]) -> None:
    s, steps = flow(shift), torch.tensor([0, 3])
    torch.testing.assert_close(s.add_noise(Z0, EPS, steps), torch.tensor(noisy).view(2, 1, 1, 1).expand_as(Z0))
    velocity = torch.tensor([-2.0, -1.5])  # eps - z0, whatever the step
    torch.testing.assert_close(s.target(Z0, EPS, steps), velocity.view(2, 1, 1, 1).expand_as(Z0))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_clean_and_noise_can_be_had_back_from_the_velocity(shift: float) -> None:
    s, generator, steps = flow(shift), torch.Generator().manual_seed(0), torch.tensor([0, 2])
    z0, eps = torch.randn(2, 3, 2, 2, generator=generator), torch.randn(2, 3, 2, 2, generator=generator)
    noisy, velocity = s.add_noise(z0, eps, steps), s.target(z0, eps, steps)
    sigma = torch.tensor([0.25, 0.75] if shift == 1 else [0.5, 0.9]).view(2, 1, 1, 1)
    torch.testing.assert_close(noisy - sigma * velocity, z0)
    torch.testing.assert_close(noisy + (1 - sigma) * velocity, eps)


def test_sd3s_own_schedule() -> None:
    """1000 steps, shift 3: the network is told 1000 sigma."""
    s = NoiseSchedule({"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0})
    assert len(s) == 1000
    assert float(s.sigma[499]) == pytest.approx(0.75)
    assert float(s.time[499]) == pytest.approx(750)
    assert (float(s.sigma[999]), float(s.signal[999])) == (1, 0)
    assert (s.sigma.diff() > 0).all()


def test_any_diffusion_scheduler_is_read() -> None:
    """Released models name samplers of many classes; betas and prediction type are what counts."""
    linear = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    names = ("PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler")
    first, *others = [
        NoiseSchedule({"_class_name": name, "prediction_type": "v_prediction", **linear}) for name in names
    ]
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    np.testing.assert_allclose(first.signal.numpy() ** 2, np.cumprod(1 - betas), atol=1e-5)
    for s in (first, *others):
        assert s.prediction_type == "v_prediction"
        assert torch.equal(s.signal, first.signal)
        torch.testing.assert_close(s.signal**2 + s.sigma**2, torch.ones(1000))


def test_add_noise() -> None:
    noisy = schedule("epsilon").add_noise(Z0, EPS, T)
    assert noisy.shape == Z0.shape
    # .8 * 1 - .6 * 1 = .2      .6 * 2 + .8 * .5 = 1.6
    torch.testing.assert_close(noisy[:, 0, 0, 0], torch.tensor([0.2, 1.6]))
    assert noisy.dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("epsilon", [-1.0, 0.5]),
        ("sample", [1.0, 2.0]),
        ("v_prediction", [-1.4, -1.3]),  # .8 * -1 - .6 * 1      .6 * .5 - .8 * 2
    ],
)
def test_targets(kind: str, expected: list[float]) -> None:
    target = schedule(kind).target(Z0, EPS, T)
    torch.testing.assert_close(target, torch.tensor(expected).view(2, 1, 1, 1).expand_as(target))


def test_clean_and_noise_can_be_had_back_from_v() -> None:
    s, generator = schedule("v_prediction"), torch.Generator().manual_seed(0)
    z0, eps = torch.randn(2, 3, 2, 2, generator=generator), torch.randn(2, 3, 2, 2, generator=generator)
    noisy, v = s.add_noise(z0, eps, T), s.target(z0, eps, T)
    signal, sigma = torch.tensor([0.8, 0.6]).view(2, 1, 1, 1), torch.tensor([0.6, 0.8]).view(2, 1, 1, 1)
    torch.testing.assert_close(signal * noisy - sigma * v, z0)
    torch.testing.assert_close(sigma * noisy + signal * v, eps)


def test_cosine_schedule_is_nichol_and_dhariwals() -> None:
    s = NoiseSchedule(COSINE)
    assert len(s) == 1000
    assert s.prediction_type == "epsilon"

    def bar(t: int) -> float:
        return cos((t / 1000 + 0.008) / 1.008 * pi / 2) ** 2

    for t in (0, 10, 500, 900):
        assert float(s.signal[t]) ** 2 == pytest.approx(bar(t + 1) / bar(0), abs=1e-5)
        assert float(s.sigma[t]) ** 2 == pytest.approx(1 - bar(t + 1) / bar(0), abs=1e-5)
    assert (s.signal.diff() < 0).all()
    assert (s.sigma.diff() > 0).all()
    assert s.time.tolist() == list(range(1000))


@pytest.mark.parametrize("kind", ["flow", "flow_prediction", "epsilom"])
def test_unknown_prediction_type_is_the_users_to_mend(kind: str) -> None:
    """``flow`` too: a diffusion's coefficients and a flow's target do not go together."""
    with pytest.raises(UserError, match=f"prediction_type '{kind}' is none of epsilon, v_prediction, sample"):
        schedule(kind)


def test_schedule_stays_out_of_checkpoints_but_follows_the_model() -> None:
    for s in (schedule("epsilon"), flow(3.0)):
        assert s.state_dict() == {}
        assert {name for name, _ in s.named_buffers()} == {"signal", "sigma", "time"}


def test_stratified_timesteps_for_training() -> None:
    drawn = stratified_timesteps(10, 1000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64
    assert sorted((drawn // 100).tolist()) == list(range(10))
    assert drawn.tolist() != sorted(drawn.tolist())

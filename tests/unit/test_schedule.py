"""Noising and targets against numbers computed by hand.

Betas .36 and .4375 give alpha_bar .64 and .36: signal and noise coefficients (.8, .6) and (.6, .8).
"""

from math import cos, pi

import pytest
import torch

from ddselect.backbone.schedule import COSINE, NoiseSchedule, stratified_timesteps
from ddselect.runtime.errors import UserError


def schedule(prediction_type: str) -> NoiseSchedule:
    return NoiseSchedule(
        {"num_train_timesteps": 2, "trained_betas": [0.36, 0.4375], "prediction_type": prediction_type}
    )


Z0 = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
EPS = torch.tensor([-1.0, 0.5]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
T = torch.tensor([0, 1])


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
        assert float(s.alphas_cumprod[t]) == pytest.approx(bar(t + 1) / bar(0), abs=1e-5)
    assert (s.alphas_cumprod.diff() < 0).all()


def test_unknown_prediction_type_is_refused() -> None:
    with pytest.raises((ValueError, UserError), match="prediction_type 'flow'"):
        schedule("flow")


def test_unknown_prediction_type_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match="prediction_type 'flow'"):
        schedule("flow")


def test_schedule_stays_out_of_checkpoints() -> None:
    assert schedule("epsilon").state_dict() == {}


def test_stratified_timesteps_for_training() -> None:
    drawn = stratified_timesteps(10, 1000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64
    assert sorted((drawn // 100).tolist()) == list(range(10))
    assert drawn.tolist() != sorted(drawn.tolist())

"""Timesteps and noise are a pure function of seed and image."""

import pytest
import torch

from ddselect.runtime.errors import UserError
from ddselect.scoring.draws import Draws
from ddselect.scoring.settings import ScoringConfig

HASHES = [f"{i:016x}" for i in range(50)]
SHAPE = (4, 8, 8)


def draws(count: int = 8, antithetic: bool = True, seed: int = 0) -> Draws:
    return Draws(count, antithetic, (0.2, 0.8), seed)


@pytest.mark.parametrize(("antithetic", "strata"), [(False, 8), (True, 4)])
def test_one_timestep_in_each_stratum_of_the_band(antithetic: bool, strata: int) -> None:
    timesteps = draws(antithetic=antithetic).timesteps(HASHES, 1000)
    assert timesteps.shape == (8, 50)
    assert timesteps.dtype == torch.int64
    different = timesteps[:: 8 // strata]
    bounds = 200 + torch.arange(strata + 1)[:, None] * 600 // strata
    assert (different >= bounds[:-1]).all()
    assert (different < bounds[1:]).all()


def test_offsets_fill_the_stratum() -> None:
    first = draws(8, antithetic=False).timesteps([str(i) for i in range(2000)], 1000)[0]
    assert set(first.tolist()) == set(range(200, 275))
    assert first.float().mean().item() == pytest.approx(237, abs=2)


def test_antithetic_pairs_share_the_timestep_and_negate_the_noise() -> None:
    d = draws()
    timesteps = d.timesteps(HASHES, 1000)
    for pair in range(4):
        assert torch.equal(timesteps[2 * pair], timesteps[2 * pair + 1])
        assert torch.equal(d.noise(HASHES, 2 * pair, SHAPE), -d.noise(HASHES, 2 * pair + 1, SHAPE))


def test_noise_and_timesteps_do_not_depend_on_batch_or_order() -> None:
    d, order = draws(), [3, 1, 40]
    picked = [HASHES[i] for i in order]
    assert torch.equal(d.noise(HASHES, 5, SHAPE)[order], d.noise(picked, 5, SHAPE))
    assert torch.equal(d.timesteps(HASHES, 1000)[:, order], d.timesteps(picked, 1000))
    torch.manual_seed(1)  # nor on global random numbers
    assert torch.equal(d.noise(picked, 5, SHAPE)[2], d.noise([HASHES[40]], 5, SHAPE)[0])


def test_images_draws_and_seeds_differ() -> None:
    d = draws()
    noise = torch.stack([d.noise(HASHES[:3], k, SHAPE) for k in (0, 2, 4)]).flatten(0, 1)
    other = draws(seed=1).noise(HASHES[:3], 0, SHAPE)
    correlation = torch.corrcoef(torch.cat([noise, other]).flatten(1)).fill_diagonal_(0)
    assert correlation.abs().max() < 0.25  # 256 values each: independent ones reach about .2
    assert not torch.equal(d.timesteps(HASHES, 1000), draws(seed=1).timesteps(HASHES, 1000))
    assert len(set(d.timesteps(HASHES, 1000)[0].tolist())) > 20


def test_noise_is_standard_normal() -> None:
    noise = draws(antithetic=False).noise(HASHES, 3, (4, 32, 32))
    assert noise.dtype == torch.float32
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.var().item() == pytest.approx(1, abs=0.01)
    assert noise.pow(3).mean().item() == pytest.approx(0, abs=0.03)
    assert noise.pow(4).mean().item() == pytest.approx(3, abs=0.05)


def test_golden_draw() -> None:
    d = draws()
    assert d.timesteps(["00", "ff"], 1000)[::2].tolist() == [[324, 344], [474, 494], [624, 644], [774, 794]]
    torch.testing.assert_close(d.noise(["00"], 0, (3,))[0], torch.tensor([-0.1716563, 0.1241660, 0.6323903]))


def test_settings_make_the_draws_they_describe() -> None:
    settings = ScoringConfig(draws=4, antithetic=False, band=[0.1, 0.7], seed=3)
    assert settings.make_draws() == Draws(4, False, (0.1, 0.7), 3)


@pytest.mark.parametrize(
    "bad",
    [{"draws": 0}, {"draws": 3, "antithetic": True}, {"band": [0.5, 0.5]}, {"band": [0.2]}, {"band": [0.2, 1.1]},
     {"cap": -1}, {"batch_size": 0}, {"shard_size": 0}, {"cross_draw_weight": 1.5},
     {"cross_draw_weight": 0.5, "draws": 1, "antithetic": False}],
)  # fmt: skip
def test_settings_refuse_what_makes_no_sense(bad: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"scoring.{next(iter(bad))}="):
        ScoringConfig(**bad)  # type: ignore[arg-type]

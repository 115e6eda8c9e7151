"""Keys are the same on every machine."""

import numpy as np
import torch

from ddselect.runtime.seeds import key64, numpy_generator, torch_generator


def test_golden_keys() -> None:
    assert key64(0, "noise") == 3666265573707827580
    assert key64("") == 8238016292129134938


def test_keys_are_63_bit_and_parts_do_not_run_together() -> None:
    keys = [key64(0, i) for i in range(1000)]
    assert len(set(keys)) == 1000
    assert min(keys) >= 0
    assert 2**62 < max(keys) < 2**63
    assert key64("ab", "c") != key64("a", "bc")
    assert key64("a", "b") != key64("b", "a")


def test_generators_depend_on_their_purpose_alone() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = torch.rand(4, generator=torch_generator(0, "x")), numpy_generator(0, "x").random(4)
    torch.manual_seed(2)
    np.random.seed(2)
    again = torch.rand(4, generator=torch_generator(0, "x")), numpy_generator(0, "x").random(4)
    assert torch.equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not torch.equal(first[0], torch.rand(4, generator=torch_generator(0, "y")))
    assert not np.array_equal(first[1], numpy_generator(1, "x").random(4))

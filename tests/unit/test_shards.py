"""Shards and their batches."""

from pathlib import Path

import pytest

from ddselect.runtime.shards import ShardBatches, ShardPlan


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_whole_shards_and_miss_nothing(tmp_path: Path, ranks: int) -> None:
    plan = ShardPlan(tmp_path, 103, 20, ".parquet")
    assert len(plan) == 6
    seen = []
    for rank in range(ranks):
        batches = ShardBatches(plan, [0, 1, 2, 4, 5], 8, rank, ranks)
        mine = list(batches)
        assert len(mine) == len(batches)
        for batch in mine:
            assert len(batch) <= 8
            assert batch[0] // 20 == batch[-1] // 20
        seen += [row for batch in mine for row in batch]
    assert sorted(seen) == [row for row in range(103) if row // 20 != 3]

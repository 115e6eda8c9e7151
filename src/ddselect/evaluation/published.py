"""What others have published for a setting: to be shown beside a run's own numbers, never among them."""

from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

_TABLE = Path(__file__).with_name("published.yaml")


@cache
def _table() -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(_TABLE))  # type: ignore[return-value]


def published(dataset: str, labels: str, architecture: str, ipc: int) -> list[dict[str, Any]]:
    """Published results of one setting: ``method``, ``student`` and ``top1`` in percent, the highest first.

    Args:
        dataset: Name of the dataset.
        labels: ``soft`` or ``hard``.
        architecture: The student's architecture.
        ipc: Images per class.

    Returns:
        Nothing for a setting of which no result is known. Each number was found under the protocol of its own paper.
    """
    methods = _table().get(dataset, {}).get(labels, {}).get(architecture, {})
    known = [
        {"method": name, "student": architecture, "top1": by_ipc[ipc]}
        for name, by_ipc in methods.items()
        if ipc in by_ipc
    ]
    return sorted(known, key=lambda row: -row["top1"])

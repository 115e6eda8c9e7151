"""The number that a tuner is told of a run."""

from statistics import mean
from typing import Any

OBJECTIVES = ("top1_last", "top1_best", "top5_last", "top5_best")


def objective(results: dict[str, Any]) -> float:
    """The accuracy in percent that a run names, of its chosen selection, protocol and student, mean over seeds."""
    entries, name = results["results"], results["config"].get("objective", OBJECTIVES[0])
    chosen = [entry for entry in entries if _arm(entry) == _arm(entries[0])]
    return mean(entry[name] for entry in chosen)


def _arm(entry: dict[str, Any]) -> tuple[str, ...]:
    return entry["selection"], entry["protocol"], entry["student"]

"""``report.html`` of a sweep: all its settings on one page that needs no other file and no network."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ddselect.report.page import render_page
from ddselect.report.svg import looks
from ddselect.sweep.charts import MOST_CHARTS, charts, draw_chart
from ddselect.sweep.job import REPORT, Job
from ddselect.sweep.pooling import Pooled, best_settings
from ddselect.sweep.table import accuracy, images

_MOST_JOBS = 6  # that a line of the table links to


def render_sweep(name: str, jobs: Sequence[Job], pooled: Pooled) -> str:
    """The page of a sweep of that name, of its jobs and of what they found."""
    drawn = [(chart, draw_chart(chart)) for chart in charts(pooled)]
    selections = list(dict.fromkeys(setting.selection for setting in pooled.settings))
    references = {setting.selection for setting in pooled.settings if setting.is_reference}
    look = looks(selections, references)
    highest = max((s.mean for s in pooled.settings if not s.is_reference), default=0.0)
    return render_page(
        "sweep.html.jinja",
        "sweep",
        name=name,
        jobs=jobs,
        done=[job for job in jobs if not job.error],
        failed=[job for job in jobs if job.error],
        pooled=pooled,
        highest=highest,
        tests=next((entry["test_images"] for s in pooled.settings for entry in s.entries.values()), 0),
        seeds=max((len(setting.entries) for setting in pooled.settings), default=0),
        looks={name: found.colour for name, found in look.items()},
        best=best_settings(pooled),
        drawn=[(chart, figure) for chart, figure in drawn if figure],
        panels=len(pooled.panels),
        most=MOST_CHARTS,
        most_jobs=_MOST_JOBS,
        work=_work(jobs),
        links={job.name: f"{job.name}/{REPORT}" for job in jobs if (job.folder / REPORT).exists()},
        objective=next((job.results["config"].get("objective", "") for job in jobs if job.results), ""),
        own={job.name: [word for word in job.overrides if word not in pooled.constant] for job in jobs},
        accuracy=accuracy,
        images=images,
    )


def _work(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """For each ``stage``, in order: how many were ``computed``, what they took, ``uses`` by jobs, all jobs counted."""
    seconds: dict[str, dict[str, float]] = defaultdict(dict)
    uses: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for job in jobs:
        for entry in (job.results or {"results": []})["results"]:
            for stage, fingerprint in entry["fingerprints"].items():
                seconds[stage][fingerprint] = entry["seconds"][stage]
                uses[stage].add((job.name, fingerprint))
    return [
        {"stage": stage, "computed": len(took), "uses": len(uses[stage]), "seconds": sum(took.values())}
        for stage, took in seconds.items()
    ]

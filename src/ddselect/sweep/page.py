"""``report.html`` of a sweep: all its settings on one page that needs no other file and no network."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ddselect.report.page import render_page
from ddselect.report.palette import looks
from ddselect.sweep.charts import MOST_CHARTS, Chart, charts
from ddselect.sweep.figures import draw_bars, draw_curves
from ddselect.sweep.job import REPORT, Job
from ddselect.sweep.pooling import Pooled, best_settings
from ddselect.sweep.table import accuracy, images

_MOST_JOBS = 6  # that a line of the table links to


@dataclass(frozen=True)
class Drawn:
    """A chart with its figures as SVG; None where there is too little to draw."""

    chart: Chart
    curves: Markup | None
    bars: Markup | None


@dataclass(frozen=True)
class Work:
    """What the stages of a name took.

    Attributes:
        stage: Their name.
        computed: How many there are.
        uses: How many jobs used one of them, all of them counted.
        seconds: Wall time of all, each counted once.
    """

    stage: str
    computed: int
    uses: int
    seconds: float


def render_sweep(name: str, jobs: Sequence[Job], pooled: Pooled) -> str:
    """The page.

    Args:
        name: What the sweep is called: its folder's name.
        jobs: All its jobs.
        pooled: What they found.
    """
    drawn = [_draw(chart) for chart in charts(pooled)]
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
        drawn=[one for one in drawn if one.curves or one.bars],
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


def _draw(chart: Chart) -> Drawn:
    lines = [line for line in chart.lines if not line.level]
    return Drawn(
        chart,
        curves=Markup(draw_curves(chart)) if len(chart.places) > 1 else None,
        bars=Markup(draw_bars(chart)) if len(lines) > 1 else None,
    )


def _work(jobs: Sequence[Job]) -> list[Work]:
    """What each stage took over all jobs, in the order of the way."""
    seconds: dict[str, dict[str, float]] = defaultdict(dict)
    uses: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for job in jobs:
        for entry in (job.results or {"results": []})["results"]:
            for stage, fingerprint in entry["fingerprints"].items():
                seconds[stage][fingerprint] = entry["seconds"][stage]
                uses[stage].add((job.name, fingerprint))
    return [Work(stage, len(took), len(uses[stage]), sum(took.values())) for stage, took in seconds.items()]

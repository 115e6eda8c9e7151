"""The W&B dashboard of a project: ``python -m ddselect.tracking.dashboard <entity>/<project> [<label> ...]``.

A label is a distilled set, ``<selection>-seed<n>``. With ``--show`` the dashboard is printed as JSON and not saved, for
which no key is needed.
"""

import argparse
from collections.abc import Sequence

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ModuleNotFoundError:
    raise SystemExit("ddselect: the dashboard needs wandb-workspaces; pip install 'ddselect[dashboard]'") from None

from ddselect.cli import one_line_errors
from ddselect.runtime.errors import UserError
from ddselect.tracking.login import has_key

NAME = "Distillation by selection"
_RATE = "scoring/progress/images_per_second"


def workspace(entity: str, project: str, labels: Sequence[str]) -> ws.Workspace:
    """The dashboard: results and sweeps, students, distilled sets, scores and costs; below, W&B's own panels.

    Args:
        entity: User or team.
        project: Its project.
        labels: Distilled sets whose images are shown: ``<selection>-seed<n>``, as metrics are named.
    """
    sections = [_results(), _students(labels), _distilled(labels), _scores(), _costs()]
    runs = ws.RunsetSettings(
        groupby=[ws.Metric("Group")],
        pinned_columns=["summary:results/top1", "summary:results/top1_best", "config:ipc.value"],
    )
    return ws.Workspace(entity, project, NAME, sections, runset_settings=runs, auto_generate_panels=True)


def _results() -> ws.Section:
    swept = ("ipc", "selection.name", "composition.whole", "scoring.draws", "protocol.name", "student.name")
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in swept]
    top1 = wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("results/top1"))
    panels = [
        wr.BarPlot(title="top-1 of the chosen selection, %", metrics=["results/top1"]),
        wr.WeavePanelSummaryTable(table_name="results/selections"),
        wr.ParallelCoordinatesPlot(title="sweeps", columns=[*columns, top1]),
        wr.MediaBrowser(title="reports", media_keys=["results/report"]),
    ]
    return ws.Section("Results", panels, is_open=True)


def _students(labels: Sequence[str]) -> ws.Section:
    def curves(title: str, name: str, log: bool) -> wr.LinePlot:
        return wr.LinePlot(title=title, x="student/step", metric_regex=f"student/.+/{name}", log_y=log)

    panels = [
        curves("top-1 on test images, %", "top1", False),
        curves("training loss", "loss", True),
        *(wr.WeavePanelSummaryTable(table_name=f"student/{label}/confused") for label in labels),
    ]
    return ws.Section("Students", panels, is_open=True)


def _distilled(labels: Sequence[str]) -> ws.Section:
    panels = [
        panel
        for label in labels
        for panel in (
            wr.MediaBrowser(title=f"distilled images, {label}", media_keys=[f"composition/{label}/gallery"]),
            wr.MediaBrowser(title=f"where they come from, {label}", media_keys=[f"composition/{label}/patches"]),
            wr.WeavePanelSummaryTable(table_name=f"composition/{label}/clusters"),
        )
    ]
    return ws.Section("Distilled sets", panels)


def _scores() -> ws.Section:
    panels = [
        wr.LinePlot(title="images scored per second", x="Relative time (process)", y=[_RATE]),
        wr.MediaBrowser(title="difference maps", media_keys=["scoring/heat_maps", "scoring/boxes"]),
        wr.BarPlot(title="pointing game, %", metrics=["results/localisation/pointing_game"]),
    ]
    return ws.Section("Scores", panels)


def _costs() -> ws.Section:
    shared = [
        f"{stage}/seconds" for stage in ("index", "teacher", "prompt", "scoring", "features", "confidence", "styles")
    ]
    panels = [
        wr.BarPlot(title="seconds of the stages that all selections share", metrics=shared),
        wr.WeavePanelSummaryTable(table_name="stages"),
    ]
    return ws.Section("Costs", panels)


def main() -> None:
    """Saves or shows the dashboard of the project that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m ddselect.tracking.dashboard")
    parser.add_argument("project", help="<entity>/<project>")
    parser.add_argument("labels", nargs="*", default=["diffusion-seed0"], help="distilled sets: <selection>-seed<n>")
    parser.add_argument("--show", action="store_true", help="print it as JSON and save nothing")
    arguments = parser.parse_args()
    entity, _, project = arguments.project.partition("/")
    with one_line_errors():
        if not entity or not project:
            raise UserError(f"{arguments.project}: a W&B user or team and its project are needed, <entity>/<project>")
        found = workspace(entity, project, arguments.labels)
        if arguments.show:
            print(found._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2))
        elif not has_key():
            raise UserError("no W&B key found to save the dashboard with; log in with `wandb login`")
        else:
            print(f"dashboard: {found.save().url}")


if __name__ == "__main__":
    main()

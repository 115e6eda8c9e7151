"""The W&B dashboard of a project: ``python -m ddselect.tracking.dashboard <entity>/<project> [<label> ...]``.

A label is a distilled set, ``<selection>-seed<n>``. With ``--show`` the dashboard is printed as JSON and not saved, for
which no key is needed.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ModuleNotFoundError:
    raise SystemExit("ddselect: the dashboard needs wandb-workspaces; pip install 'ddselect[dashboard]'") from None

from ddselect.exits import one_line_errors
from ddselect.runtime.errors import UserError
from ddselect.tracking.login import has_key

NAME = "Distillation by selection"
_OPEN = ("Results", "Students")


def workspace(entity: str, project: str, labels: Sequence[str]) -> ws.Workspace:
    """The dashboard: results and sweeps, students, distilled sets, scores and costs; below, W&B's own panels.

    Labels are those of the distilled sets whose images are shown: ``<selection>-seed<n>``, as metrics are named.
    """
    told = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("dashboard.yaml")))
    sections = [
        ws.Section(name, [panel for one in panels for panel in _panels(one, labels)], is_open=name in _OPEN)
        for name, panels in cast(dict[str, list[dict[str, Any]]], told).items()
    ]
    runs = ws.RunsetSettings(
        groupby=[ws.Metric("Group")],
        pinned_columns=["summary:results/top1", "summary:results/top1_best", "config:ipc.value"],
    )
    return ws.Workspace(entity, project, NAME, sections, runset_settings=runs, auto_generate_panels=True)


def _panels(told: dict[str, Any], labels: Sequence[str]) -> list[Any]:
    """A panel, or one for each label."""
    text, found = json.dumps(told), []
    for label in labels if "{label}" in text else [""]:
        options = json.loads(text.replace("{label}", label))
        if "columns" in options:
            metrics = [wr.SummaryMetric(name) if "/" in name else wr.Config(name) for name in options["columns"]]
            options["columns"] = [wr.ParallelCoordinatesPlotColumn(metric) for metric in metrics]
        found.append(getattr(wr, options.pop("kind"))(**options))
    return found


def main() -> None:
    """Saves or shows the dashboard of the project that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m ddselect.tracking.dashboard")
    parser.add_argument("project", help="<entity>/<project>")
    parser.add_argument("labels", nargs="*", default=["ddselect-seed0"], help="distilled sets: <selection>-seed<n>")
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

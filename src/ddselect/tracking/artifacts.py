"""Finished stages whose files are kept as W&B artifacts, with what they were made from."""

import re
from collections.abc import Mapping

import wandb

from ddselect.tracking.contents import Finished

_KINDS = {"composition": "distilled-set", "relabel": "soft-labels", "student": "student"}


def artifact_of(finished: Finished, made_from: Mapping[str, str]) -> wandb.Artifact | None:
    """The folder of a finished stage as an artifact; None where it is not to be kept.

    Its files are not copied: a finished stage does not change. The set of all images is none that is distilled.

    Args:
        finished: The stage.
        made_from: Fingerprints of all stages before it, by name.
    """
    name, done, e = finished.stage.name, finished.done, finished.experiment
    if name not in e.logger.artifacts or (name == "composition" and not finished.is_distilled):
        return None
    text = f"{e.dataset.name}-ipc{e.ipc}-{finished.stage.label}-{_KINDS[name]}"
    metadata = {key: done.manifest[key] for key in ("stage", "version", "config", "facts")}
    artifact = wandb.Artifact(
        re.sub(r"[^\w.-]", "-", text),
        _KINDS[name],
        description=finished.stage.title,
        metadata={**metadata, "fingerprint": done.fingerprint, "made_from": dict(made_from)},
    )
    for file in sorted(path for path in done.folder.rglob("*") if path.is_file()):
        place = file.relative_to(done.folder).as_posix()
        artifact.add_file(str(file), place, skip_cache=True, policy="immutable")
    return artifact

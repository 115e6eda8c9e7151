"""The teacher's accuracy on real images and given sets, and how the distilled images lie among the real ones."""

from ddselect.embed.fields import prior_for_features
from ddselect.evaluation.check import VERSION as CHECK_VERSION
from ddselect.evaluation.quality import VERSION as QUALITY_VERSION
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


def _check_key(trial: Trial) -> Facts:
    e = trial.experiment
    return {"split": e.evaluation.split, "margin": e.protocols[0].margin(trial.view), "refuses": e.teacher.check}


TEACHER_CHECK = Stage(
    name="teacher_check",
    version=CHECK_VERSION,
    reads=("index", "teacher"),
    key=_check_key,
    run="ddselect.evaluation.check:check_teacher",
    checks="teacher",
    title=lambda t: f"teacher {t.experiment.teacher.name} on real images",
    expects=lambda t: {"test_images": t.stages["index"].facts["images"][t.experiment.evaluation.split]},
    cost=lambda _, facts: ([], facts["test_images"], 1),
)
GIVEN_CHECK = Stage(
    name="given_check",
    version=CHECK_VERSION,
    reads=("index", "teacher", "composition"),
    key=lambda _: {},
    run="ddselect.evaluation.check:check_given",
    exists=lambda t: (
        not t.method.selection.ranks
        and (t.experiment.evaluation.quality or any(protocol.labels == "soft" for protocol in t.experiment.protocols))
    ),
    advice="choose selection=given, with a teacher's labels or evaluation.quality=true",
    checks="composition",
    scope="method",
    title=lambda t: f"teacher {t.experiment.teacher.name} on {t.method.selection.name}",
    expects=lambda t: {"images": t.stages["composition"].facts["images"]},
    cost=lambda _, facts: ([], facts["images"], 1),
)
QUALITY = Stage(
    name="quality",
    version=QUALITY_VERSION,
    reads=lambda t: ["index", "pool?", "teacher", "composition", "embed", *prior_for_features(t)],
    key=lambda _: {},
    run="ddselect.evaluation.quality:run",
    exists=lambda t: bool(t.experiment.evaluation.quality and t.method.selection.limit),
    advice="set evaluation.quality=true",
    scope="method",
    title=lambda t: f"quality of {t.distilled}",
)

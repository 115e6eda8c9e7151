"""The test images, the teacher on them and on given sets, and how the distilled images lie among the real ones."""

from ddselect.embed.fields import prior_for_features
from ddselect.evaluation.quality import VERSION as QUALITY_VERSION
from ddselect.evaluation.settings import CHECK_VERSION, VIEWS_VERSION
from ddselect.runtime.stage import Stage
from ddselect.runtime.trial import Facts, Trial


def _views_key(trial: Trial) -> Facts:
    tested, size = trial.experiment.evaluation, trial.view
    images = {"split": tested.split, "images_per_class": tested.images_per_class}
    return {**images, "size": size, "margin": trial.protocol.margin(size)}


def _test_images(trial: Trial) -> Facts:
    tested = trial.experiment.evaluation
    count = trial.stages["index"].facts["images"][tested.split]
    return {"test_images": min(count, (tested.images_per_class or count) * trial.classes)}


TEST_VIEWS = Stage(
    name="test_views",
    version=VIEWS_VERSION,
    reads=("index",),
    key=_views_key,
    run="ddselect.evaluation.test_views:run",
    scope="protocol",
    expects=_test_images,
    cost=lambda c, f: ([c["size"]], f["test_images"], f["test_images"]),
    unit="test_images",
    on_processor=True,
)
TEACHER_CHECK = Stage(
    name="teacher_check",
    version=CHECK_VERSION,
    reads=("index", "teacher", "test_views"),
    key=lambda t: {"refuses": t.experiment.teacher.check},
    run="ddselect.evaluation.check:check_teacher",
    checks="teacher",
    scope="protocol",
    title=lambda t: f"teacher {t.experiment.teacher.name} on real images",
    expects=_test_images,
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

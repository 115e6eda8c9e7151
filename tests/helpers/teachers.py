"""Teachers outside a run: provided for an index, and checked on test images."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ddselect.dataset.index import Index
from ddselect.evaluation import check, test_views
from ddselect.evaluation.settings import EvaluationConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.store import StageResult
from ddselect.runtime.trainer import TrainerConfig
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.accuracy import Accuracy
from ddselect.student.models import Classifier
from ddselect.teacher.choice import Bench, TeacherConfig

REST = {"top5": 99.0, "calibration_error": 3.0, "test_images": 50}  # what :func:`check_at` finds beside the top-1


def provide(teacher: TeacherConfig, index: Index, folder: Path, view: int = 16) -> dict[str, object]:
    """Has a teacher written to a folder for some training images."""
    return teacher.provide(Bench(index, view, lambda **_: None), folder)


def _trial(index: Path, teacher: TeacherConfig, folder: Path, classes: int, view: int) -> Trial:
    """A trial with a teacher and test views in a folder."""
    experiment = SimpleNamespace(
        teacher=teacher,
        evaluation=EvaluationConfig(),
        trainer=TrainerConfig(),
        dataset=SimpleNamespace(image_size=view, place=Path()),
    )
    stages = {
        "index": StageResult("index", "", index, {"facts": {"classes": classes}}, False),
        "teacher": StageResult("teacher", "", folder, {"facts": {}}, False),
        "test_views": StageResult("test_views", "", folder, {"facts": {}}, False),
    }
    return Trial(experiment, None, 0, ProtocolConfig("protocol", steps=1), None, None, stages)


def check_on(index: Path, teacher: TeacherConfig, folder: Path, classes: int = 3, view: int = 16) -> Facts:
    """The check of a teacher that was provided to a folder, on the test images of a finished index."""
    trial = _trial(index, teacher, folder, classes, view)
    test_views.run(trial, folder)
    return check.check_teacher(trial, folder)


def check_at(top1: dict[type, float], teacher: TeacherConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """The check of a teacher of three classes, as if those of a type (others: 90) had a top-1 in %, on 50 images."""

    def measured(model: Classifier, *_: object) -> Accuracy:
        return Accuracy(top1.get(type(model), 90.0), 99.0, 50, 3.0)

    monkeypatch.setattr(check, "validate", measured)
    monkeypatch.setattr(check, "read_test_set", lambda _: None)
    return check.check_teacher(_trial(Path(), teacher, folder, 3, 16), folder)

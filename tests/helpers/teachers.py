"""Teachers outside a run: provided for an index, and checked on test images."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ddselect.dataset.index import Index
from ddselect.evaluation import check
from ddselect.evaluation.settings import EvaluationConfig
from ddselect.protocol.recipe import ProtocolConfig
from ddselect.runtime.store import StageResult
from ddselect.runtime.trial import Facts, Trial
from ddselect.student.accuracy import Accuracy
from ddselect.student.models import Classifier
from ddselect.teacher.choice import Bench, TeacherConfig
from tests.helpers.models import CPU


def provide(teacher: TeacherConfig, index: Index, folder: Path, view: int = 16) -> dict[str, object]:
    """Has a teacher written to a folder for some training images."""
    return teacher.provide(Bench(index, view, lambda **_: None), folder)


def check_on(index: Path, teacher: TeacherConfig, folder: Path, classes: int = 3, view: int = 16) -> Facts:
    """The check of a teacher that was provided to a folder, on the test images of a finished index."""
    protocol = ProtocolConfig("protocol", steps=1)
    experiment = SimpleNamespace(
        teacher=teacher,
        protocols=[protocol],
        evaluation=EvaluationConfig(),
        trainer=SimpleNamespace(device=CPU),
        dataset=SimpleNamespace(image_size=view, place=Path()),
    )
    stages = {
        "index": StageResult("index", "", index, {"facts": {"classes": classes}}, False),
        "teacher": StageResult("teacher", "", folder, {"facts": {}}, False),
    }
    return check.check_teacher(Trial(experiment, None, 0, protocol, None, None, stages), folder)


def check_at(top1: dict[type, float], teacher: TeacherConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """The check of a teacher of three classes, as if those of a type (others: 90) had a top-1 in %, on 50 images."""

    def measured(model: Classifier) -> Accuracy:
        return Accuracy(top1.get(type(model), 90.0), 99.0, 50)

    monkeypatch.setattr(check, "tester", lambda *_, **__: measured)
    return check_on(Path(), teacher, folder)

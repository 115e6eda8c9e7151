"""Networks that there are not, or that cannot take the images, are refused before any work; also by a dry run."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ddselect.config import build_experiment
from ddselect.pipeline import run
from ddselect.plan import print_plan
from ddselect.runtime.errors import UserError
from ddselect.student.models import build_network
from ddselect.teacher.choice import StoredTeacherConfig
from ddselect.teacher.ensemble import Ensemble
from ddselect.teacher.pretrained import PretrainedTeacherConfig
from tests.helpers.configs import composed
from tests.helpers.models import write_teacher

NO_SUCH = "unknown architecture 'resnet81'; did you mean one of "
OTHER = ("embed=timm", "embed.architecture=resnet81")
TRAINED = ("teacher=trained", "teacher.check=false")


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["student.architecture=inception_v3"], "architecture 'inception_v3' cannot take images of 32 pixels "),
        (["student.architecture=levit_128"], "architecture 'levit_128' cannot take images of 32 pixels "),
        (["student.architecture=resnet81"], NO_SUCH),
        (["student.architecture=torchvision/resnet18"], "unknown architecture 'torchvision/resnet18'"),
        (["students=[convnet6]"], "architecture 'convnet6' takes images of 64 pixels or more, not of 32"),
        ([*TRAINED, "teacher.student.architecture=inception_v3"], "inception_v3 cannot take images of 32 pixels "),
        ([*TRAINED, "teacher.student.architecture=resnet81"], NO_SUCH),
        (["teacher=resnet18", "teacher.architecture=resnet81"], NO_SUCH),
        (["teacher=resnet18", "teacher.architecture=inception_v3"], "cannot take images of 32 pixels .*teacher.side="),
        (["teacher=resnet18", "teacher.architecture=resnet18.in2k"], "timm has no weights 'resnet18.in2k'; those of "),
        (["teacher=resnet18", "teacher.architecture=convnet3"], "there are no pretrained weights of 'convnet3'"),
        (["teacher=resnet18", "teacher.architecture=torchvision/resnet19"], "unknown architecture 'torchvision/resn"),
        (["teacher=resnet18", "teacher.architecture=torchvision/resnet18.V9"], "torchvision has no weights 'V9'"),
        (["teacher=resnet18", "teacher.weights=nowhere.pth"], "teacher.weights=nowhere.pth: no such file"),
        (["teacher.path=nowhere"], "nowhere/teacher.safetensors is missing"),
        (["teacher=ensemble", "teacher.members=[embedded,resnet18]", *OTHER], NO_SUCH),
        (["embed=timm", "embed.architecture=resnet18.in2k"], "timm has no weights 'resnet18.in2k'"),
        (["embed=timm", "embed.architecture=inception_v3", "embed.size=0"], "images of 32 pixels .*set embed.size="),
    ],
)  # fmt: skip
def test_networks_that_will_not_do(settings: list[str], said: str, dry: bool, tmp_path: Path) -> None:
    experiment = build_experiment(composed(*settings, f"store={tmp_path / 'store'}"))
    with pytest.raises(UserError, match=said) as caught:
        print_plan(experiment) if dry else run(experiment, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "settings", [["stages=[index]"], ["stages=[selection]", "selection=random_crop", "compare=[]"]]
)
def test_networks_that_nothing_needs_are_not_judged(settings: list[str], tmp_path: Path) -> None:
    wrong = ("student.architecture=resnet81", "teacher.path=nowhere")
    print_plan(build_experiment(composed(*settings, *wrong, f"store={tmp_path / 'store'}")))


@pytest.mark.parametrize(
    ("sides", "side", "refused"), [([96, 48], 0, "48"), ([96, 48], 96, ""), ([96], 0, ""), ([32], 0, "32")]
)
def test_a_teacher_must_take_crops_too(sides: Sequence[int], side: int, refused: str) -> None:
    teacher = PretrainedTeacherConfig("t", "inception_v3", side=side)
    if not refused:
        teacher.check_network(sides)
        return
    with pytest.raises(UserError, match=f"inception_v3 cannot take images of {refused} pixels"):
        teacher.check_network(sides)


def test_a_file_of_weights_is_held_to_its_architecture(tmp_path: Path) -> None:
    torch.save(build_network("small_resnet16", 3, None).state_dict(), tmp_path / "w.pth")
    PretrainedTeacherConfig("t", "small_resnet16", str(tmp_path / "w.pth")).check_network([32, 16])
    with pytest.raises(UserError, match=r"does not fit 'resnet18': .*; set teacher.architecture"):
        PretrainedTeacherConfig("t", "resnet18", str(tmp_path / "w.pth")).check_network([32])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"classes": 3}'])
def test_a_damaged_card_is_one_line(content: str, tmp_path: Path) -> None:
    stored = StoredTeacherConfig("stored", str(write_teacher(tmp_path, ["a", "b"])))
    stored.check_network([16])
    (tmp_path / "teacher.json").write_text(content)
    with pytest.raises(UserError, match=r"teacher stored: \S+teacher.json is damaged"):
        Ensemble("several", [StoredTeacherConfig("embedded"), stored]).check_network([16])


def test_nothing_random_is_drawn() -> None:
    state = torch.random.get_rng_state()
    experiment = build_experiment(composed("student=resnet18"))
    experiment.student.check(32)
    assert torch.equal(torch.random.get_rng_state(), state)

"""Distilled sets of others: the forms they come in, what is refused, and what is warned of."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddselect.composition.compose import Composition
from ddselect.composition.distilled import read_distilled
from ddselect.composition.given import copy_given
from ddselect.config import build_experiment
from ddselect.dataset.index import Index
from ddselect.evaluation.check import check_given
from ddselect.runtime.errors import UserError
from ddselect.runtime.store import StageResult
from ddselect.runtime.trainer import TrainerConfig
from ddselect.runtime.trial import Trial
from ddselect.selection.given import STATISTICS, GivenConfig, GivenSet, classes_of
from tests.helpers.configs import composed

FOLDERS, NAMES = ["n03", "n01", "n02"], ["ant", "bee", "cow"]  # the dataset's classes have an order of their own
LABELS = torch.tensor([2, 0, 1, 0, 1, 2])
IMAGES = (torch.arange(6 * 3 * 16 * 16).reshape(6, 3, 16, 16) * 7 % 251).byte()
IN_ORDER = [1, 3, 2, 4, 0, 5]
SOFT = torch.eye(3)[LABELS] * 0.5 + 0.1


def normalised(name: str) -> torch.Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in STATISTICS[name])
    return (IMAGES.float() / 255 - mean) / std


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "set.pt")
    return folder / "set.pt"


def folders(root: Path, names: dict[str, int], per_class: int = 2, side: int = 16) -> Path:
    """Class folders of images in the grey that belongs to a class."""
    for name, label in names.items():
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            Image.new("RGB", (side, side), (40 * label,) * 3).save(root / name / f"{number}.png")
    return root


def opened(root: Path, **options: Any) -> GivenSet:
    return GivenConfig("theirs", 1.0, root=str(root), **options).open(FOLDERS, NAMES)


@pytest.mark.parametrize(
    "names",
    [
        {"n03": 0, "n01": 1, "n02": 2},
        {"ant": 0, "bee": 1, "cow": 2},
        {"00000": 0, "00001": 1, "00002": 2},
        {"new000": 0, "new001": 1, "new002": 2},
    ],
    ids=lambda names: next(iter(names)),
)
def test_class_folders_are_named_or_numbered(names: dict[str, int], tmp_path: Path) -> None:
    given = opened(folders(tmp_path / "set", names))
    assert given.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [given.read(number).getpixel((0, 0))[0] for number in range(6)] == [0, 0, 40, 40, 80, 80]
    assert given.odd == []


def test_numbers_are_numbers_and_not_words() -> None:
    names = [str(number) for number in range(12)]
    assert classes_of(sorted(names), [f"c{number}" for number in range(12)], names, "") == {n: int(n) for n in names}
    assert classes_of(["0", "1"], ["1", "0"], ["1", "0"], "") == {"1": 0, "0": 1}  # the dataset's own come first


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (["n03", "n02"], "1 of the dataset's 3 classes are missing, such as 'n01'"),
        (["ant", "bee"], "1 of the dataset's 3 classes are missing, such as 'cow'"),
        (["ant", "bee", "cow", "dog"], "its 4 class folders, such as 'dog', are neither the dataset's 3"),
        (["00000", "00001"], "its 2 class folders, such as '00001', are neither"),
        (["00001", "00002", "00003"], "nor their positions from 0 to 2"),
        (["00000", "00001", "0", "00002"], "its 4 class folders"),
        (["n05", "n06", "n07"], "such as 'n07'"),
        ([], "there are no class folders of images"),
    ],
)
def test_other_classes_are_refused(found: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "set" / "logs").mkdir(parents=True)  # which has no images
    folders(tmp_path / "set", dict.fromkeys(found, 0))
    with pytest.raises(UserError) as caught:
        opened(tmp_path / "set")
    assert words in str(caught.value)
    assert str(caught.value).startswith("given set 'theirs': ")


FORMS: dict[str, Callable[[], Any]] = {
    "dict": lambda: {"labels": LABELS, "images": IMAGES},
    "tuple": lambda: (IMAGES, LABELS.int()),
    "float labels": lambda: [IMAGES, LABELS.float()],
    "in 0 to 1": lambda: {"x": IMAGES.float() / 255, "y": LABELS},
    "half": lambda: {"x": IMAGES.half() / 255, "y": LABELS},
    "one-hot": lambda: {"x": IMAGES, "y": torch.eye(3)[LABELS]},
    "whole numbers": lambda: {"x": IMAGES.long(), "y": LABELS},
    "as DC saves": lambda: {"data": [[IMAGES, LABELS]], "accs": {"ConvNet": [50.1]}},
}


@pytest.mark.parametrize("form", FORMS)
def test_tensors_come_in_class_order(form: str, tmp_path: Path) -> None:
    given = opened(saved(FORMS[form](), tmp_path))
    assert given.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert given.sources == [f"set.pt[{row}]" for row in IN_ORDER]
    for number, row in enumerate(IN_ORDER):
        assert np.array_equal(np.asarray(given.read(number)), IMAGES[row].permute(1, 2, 0).numpy())
    assert given.odd == []


@pytest.mark.parametrize("name", STATISTICS)
def test_a_normalisation_is_undone(name: str, tmp_path: Path) -> None:
    given = opened(saved([normalised(name), LABELS], tmp_path), normalisation=name)
    assert np.array_equal(np.asarray(given.read(0)), IMAGES[1].permute(1, 2, 0).numpy())
    assert given.odd == []


def test_what_is_odd_but_can_be_used_is_warned_of(tmp_path: Path) -> None:
    first, second = opened(saved([[IMAGES, SOFT], [IMAGES, LABELS]], tmp_path)).odd
    assert "2 sets, of which the first" in first
    assert "soft labels are not used" in second
    (beyond,) = opened(saved([3 * normalised("half"), LABELS], tmp_path), normalisation="half").odd
    assert "of its values are outside 0 to 1" in beyond
    (plain,) = opened(saved([IMAGES / 255, LABELS], tmp_path), normalisation="imagenet").odd
    assert "before a normalisation" in plain


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "values": (lambda: [normalised("imagenet"), LABELS], "values from -2.1"),
    "bytes as floats": (lambda: [IMAGES.float(), LABELS], "not from 0 to 1: if they are normalised, say by what"),
    "infinite": (lambda: [torch.full((6, 3, 16, 16), torch.inf), LABELS], "not finite"),
    "large numbers": (lambda: [IMAGES.long() * 2, LABELS], "0 to 255 are needed"),
    "too many classes": (lambda: [IMAGES, LABELS + 1], "labels from 1 to 3, 3 different ones"),
    "too few classes": (lambda: [IMAGES, LABELS.clamp(max=1)], "labels from 0 to 1, 2 different ones"),
    "fractions": (lambda: [IMAGES, LABELS + 0.5], "no whole numbers"),
    "other soft labels": (lambda: [IMAGES, torch.rand(6, 10)], "labels for 10 classes, the dataset has 3"),
    "no labels": (lambda: {"images": IMAGES}, "no images (N, 3, S, S) with as many labels"),
    "grey": (lambda: [IMAGES[:, :1], LABELS], "no images (N, 3, S, S)"),
    "lengths": (lambda: [IMAGES, LABELS[:5]], "no images (N, 3, S, S)"),
    "arrays": (lambda: [IMAGES.numpy(), LABELS.numpy()], "is not of tensors in dicts, lists and tuples alone"),
    "objects": (lambda: {"images": IMAGES, "labels": LABELS, "by": Path("x")}, "is not of tensors"),
}


@pytest.mark.parametrize("case", WRONG)
def test_tensors_that_do_not_fit_are_refused_in_a_line(case: str, tmp_path: Path) -> None:
    make, words = WRONG[case]
    with pytest.raises(UserError) as caught:
        opened(saved(make(), tmp_path))
    assert words in str(caught.value)
    assert str(caught.value).startswith("given set 'theirs': set.pt ")
    assert "\n" not in str(caught.value)


def test_a_place_with_nothing_in_it(tmp_path: Path) -> None:
    (tmp_path / "set.pt").write_bytes(b"no archive")
    wrong = {"": "its place is not told", tmp_path / "x": "there is no ", tmp_path / "set.pt": "is not of tensors"}
    for root, words in wrong.items():
        with pytest.raises(UserError, match=words):
            GivenConfig("theirs", 1.0, root=str(root)).open(FOLDERS, NAMES)


def test_what_a_set_is_called_in_a_run() -> None:
    sets = ["{given: {root: a/dm.pt}}", "{given: {root: b/x, name: rded public}}", "{given: {root: c/x, whole: 0}}"]
    e = build_experiment(composed(f"compare=[{','.join(sets)}]"))
    names = [method.selection.name for method in e.methods[1:]]
    assert names == ["given root=dm.pt", "rded public", "given root=x whole=0"]
    assert [method.composition.whole for method in e.methods[1:]] == [1, 1, 0]
    with pytest.raises(UserError, match="two given sets are called 'given root=x'; give each a name"):
        build_experiment(composed("compare=[{given: {root: a/x}},{given: {root: b/x}}]"))
    with pytest.raises(UserError, match="all whole"):
        build_experiment(composed("compare=[{given: {root: a, whole: 0.5}}]"))


def test_a_set_is_its_content_and_not_its_place(tmp_path: Path) -> None:
    names = {"ant": 0, "bee": 1, "cow": 2}
    one, other = folders(tmp_path / "one", names), folders(tmp_path / "other", names)
    keys = [GivenConfig("a", root=str(root)).content() for root in (one, other)]
    assert keys[0] == keys[1]
    Image.new("RGB", (16, 16), "red").save(other / "bee" / "1.png")
    assert GivenConfig("a", root=str(other)).content() != keys[0]
    (one / "ant").rename(one / "dog")
    assert GivenConfig("a", root=str(one)).content() != keys[0]
    file = saved([IMAGES, LABELS], tmp_path)
    before = GivenConfig("a", root=str(file)).content()
    file.rename(tmp_path / "moved.pt")
    assert GivenConfig("a", root=str(tmp_path / "moved.pt")).content() == before != ""
    assert GivenConfig("a", root=str(tmp_path / "gone")).content() == GivenConfig("a").content() == ""


@pytest.fixture
def index(animals: Index) -> Index:
    return Index(animals.root, FOLDERS, NAMES, animals.table)


def test_images_are_copied_as_they_are(index: Index, tmp_path: Path) -> None:
    given = opened(saved([IMAGES, LABELS], tmp_path))
    facts = copy_given("theirs", given, index, Composition(2, 1.0), 2, 16, tmp_path)
    assert (facts["images"], facts["told"]) == (6, [])
    found = read_distilled(tmp_path)
    assert torch.equal(found.images, IMAGES[IN_ORDER])
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert not found.stitched.any()
    assert [entry["file_name"] for entry in found.metadata[:3]] == ["n03/00000.png", "n03/00001.png", "n01/00000.png"]
    assert found.metadata[2]["class"] == "bee"
    (patch,) = found.metadata[2]["patches"]
    assert (patch["source"], patch["box"], patch["rank"]) == ("set.pt[2]", [0, 0, 16, 16], 0)


def test_stitched_images_have_their_crops(index: Index, tmp_path: Path) -> None:
    copy_given("theirs", opened(saved([IMAGES, LABELS], tmp_path)), index, Composition(2, 0.0), 2, 16, tmp_path)
    found = read_distilled(tmp_path)
    assert found.stitched.all()
    assert [patch["cell"] for patch in found.metadata[0]["patches"]] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert found.metadata[0]["patches"][1]["box"] == [8, 0, 16, 8]
    with pytest.raises(UserError, match="factor=3 does not divide"):
        copy_given("theirs", opened(saved([IMAGES, LABELS], tmp_path)), index, Composition(3, 0.0), 2, 16, tmp_path)


def test_sizes_and_numbers_that_differ_are_told(index: Index, tmp_path: Path) -> None:
    root = folders(tmp_path / "set", {"ant": 0, "bee": 1, "cow": 2}, side=24)
    facts = copy_given("theirs", opened(root), index, Composition(2, 1.0), 2, 16, tmp_path)
    assert facts["told"] == ["theirs: 6 images, of 24 x 24 pixels, are resized to 16 x 16"]
    assert read_distilled(tmp_path).images.shape == (6, 3, 16, 16)
    (root / "bee" / "1.png").unlink()
    _, number = copy_given("theirs", opened(root), index, Composition(2, 1.0), 2, 16, tmp_path / "other")["told"]
    assert "1 to 2 images per class, not ipc=2" in number
    tensors = opened(saved([IMAGES, LABELS], tmp_path))
    (number,) = copy_given("theirs", tensors, index, Composition(2, 1.0), 10, 16, tmp_path)["told"]
    assert "2 images per class, not ipc=10" in number


@pytest.mark.parametrize(("shift", "top1"), [(0, 100.0), (1, 0.0)])
def test_a_teacher_that_takes_classes_for_others_is_told(
    shift: int, top1: float, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher knows the class by the grey."""
    root = folders(tmp_path / "set", {name: (label + shift) % 3 for label, name in enumerate(NAMES)})
    copy_given("theirs", opened(root), index, Composition(2, 1.0), 2, 16, tmp_path)
    monkeypatch.setattr("ddselect.evaluation.check.index_of", lambda _: index)

    class Teacher(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(3)[(images[:, 0, 0, 0] * 255 / 40).round().long()]

    monkeypatch.setattr("ddselect.evaluation.check.load_teacher", lambda _: Teacher())
    e = SimpleNamespace(trainer=TrainerConfig(), teacher=SimpleNamespace(name="T"))
    method = SimpleNamespace(selection=GivenConfig("theirs"))
    facts: dict[str, Any] = {"facts": {"classes": 3}}
    stages = {n: StageResult(n, "", tmp_path, facts, False) for n in ("index", "teacher", "composition")}
    found = check_given(Trial(e, method, 0, None, None, None, stages), tmp_path)
    assert found["top1"] == top1
    assert ["theirs: its class order is probably wrong" in text for text in found["told"]] == [True] * shift
    assert ["takes 2 of 2 images of 'ant' for 'bee'" in text for text in found["told"]] == [True] * shift

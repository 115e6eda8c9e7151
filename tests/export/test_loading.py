"""Distilled sets in the hands of other programs."""

import json
import re
import runpy
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import Features, load_dataset
from PIL import Image
from torchvision.datasets import ImageFolder

from ddselect.composition.card import Card, card_text, write_card
from ddselect.runtime.errors import UserError
from tests.export.conftest import CHEAP
from tests.fault.runs import run_here
from tests.helpers.data import folder_dataset

PATCH = {"source", "box", "cell", "kind", "score", "cluster", "rank", "repeat"}


def lines(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]


def example(card: str) -> str:
    """The program on a card that trains."""
    (code,) = re.findall(r"## Train on it.*?```python\n(.*?)```", card, re.DOTALL)
    return code


def run_example(root: Path) -> dict:
    """Runs it in its folder and returns its variables."""
    (root / "train.py").write_text(example((root / "README.md").read_text()))
    try:
        with chdir(root), redirect_stdout(StringIO()) as said:
            found = runpy.run_path("train.py")
    finally:
        (root / "train.py").unlink()
    return {**found, "said": said.getvalue()}


@pytest.fixture(params=["distilled", "exported"])
def root(request: pytest.FixtureRequest) -> Path:
    """The set where the run left it, and the exported one with labels beside it."""
    return request.getfixturevalue(request.param)


def test_torchvision_reads_it_with_the_same_classes(root: Path) -> None:
    images = ImageFolder(str(root))
    assert images.classes == [str(digit) for digit in range(10)]
    told = {entry["file_name"]: entry["label"] for entry in lines(root)}
    assert {Path(path).relative_to(root).as_posix(): label for path, label in images.samples} == told
    assert len(told) == 20


@pytest.mark.parametrize("way", ["imagefolder", "folder"])
def test_the_library_datasets_reads_it(root: Path, way: str, tmp_path: Path) -> None:
    """As class folders of images, and as the card says."""
    place = {"path": "imagefolder", "data_dir": str(root)} if way == "imagefolder" else {"path": str(root)}
    images = load_dataset(**place, split="train", cache_dir=str(tmp_path))
    assert len(images) == 20
    assert set(images.column_names) == {"image", "label", "class", "patches"}
    header = yaml.safe_load((root / "README.md").read_text().split("---\n")[1])
    assert images.features == Features._from_yaml_list(header["dataset_info"]["features"])
    for row, told in zip(images, lines(root), strict=True):
        assert (row["label"], row["class"], row["patches"]) == (told["label"], told["class"], told["patches"])
        with Image.open(root / told["file_name"]) as image:
            assert np.array_equal(np.array(row["image"]), np.array(image))
    assert {key for row in images for patch in row["patches"] for key in patch} == PATCH


def test_classes_in_an_order_of_their_own_and_called_as_splits_are(tmp_path: Path) -> None:
    """CIFAR-100 has a class `train`, and ImageNet's subsets are not sorted."""
    folders, told = ["zebra", "train", "ant"], []
    for label, name in enumerate(folders):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), (label, 0, 0)).save(tmp_path / name / "00000.png")
        patch = {"source": "a", "box": [0, 0, 8, 8], "cell": [0, 0], "kind": "image", "score": 1.0}
        patches = [{**patch, "cluster": -1, "rank": 0, "repeat": ""}]
        told.append({"file_name": f"{name}/00000.png", "label": label, "class": name, "patches": patches})
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in told))
    card = Card("pets", "other", "https://pets.org", "real", "best", {}, "", 0, 1, 1, 1.0, 8, 3, folders)
    write_card(tmp_path, card)
    images = load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert [image.getpixel((0, 0))[0] for image in images["image"]] == images["label"] == [0, 1, 2]
    assert "The classes have an order of their own" in card_text(card)
    header = yaml.safe_load(card_text(card).split("---\n")[1])
    assert (header["license_name"], header["license_link"]) == ("pets-terms", "https://pets.org")


def test_crops_of_mixed_classes_tell_their_own(work: Path) -> None:
    ended = run_here(work, *CHEAP, "relabel=live", "composition.mix_classes=true", "compare=[]", "hydra.run.dir=mixed")
    assert ended.code == 0, ended.err
    entry = json.loads((work / "mixed" / "results.json").read_text())["results"][0]
    root = (work / "mixed" / entry["distilled"]).resolve()
    images = load_dataset(str(root), split="train", cache_dir=str(work / "cache"))
    assert {key for row in images for patch in row["patches"] for key in patch} == PATCH | {"label", "class"}
    assert [len({patch["label"] for patch in row["patches"]}) for row in images] == [4, 1] * 10
    assert all(patch["source"].split("/")[1] == patch["class"] for row in images for patch in row["patches"])
    card = (root / "README.md").read_text()
    assert "50% of them stitched from 2 x 2 crops of different classes, the others whole images." in card
    assert "count each crop's `label` by its area" in card
    assert "| `label`, `class` (of a patch) |" in card


def test_the_card_says_what_the_set_is(distilled: Path) -> None:
    card = (distilled / "README.md").read_text()
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["license"] == "cc-by-4.0"
    assert header["task_categories"] == ["image-classification"]
    assert header["size_categories"] == ["n<1K"]
    assert "20 images of 32 x 32 pixels,\n2 per class, 10 classes;\n50% of them stitched from 2 x 2 crops" in card
    assert "archive.ics.uci.edu" in card
    documented = set(re.findall(r"`(\w+)`", card[card.index("| key | content |") :]))
    assert PATCH | {"file_name", "label", "class", "patches"} <= documented
    assert not re.search(r"/(tmp|home|root|Users)/", card)


@pytest.mark.parametrize(
    ("images", "size", "batch"), [(20, "n<1K", 20), (51, "n<1K", 49), (1000, "1K<n<10K", 50), (50000, "10K<n<100K", 50)]
)
def test_sizes(images: int, size: str, batch: int) -> None:
    """The example's batches never leave one image over, which batch norm could not take."""
    card = Card("pets", "unknown", "", "mixed", "best", {}, "", 0, 1, 1, 1.0, 8, images, ["a", "b"])
    assert yaml.safe_load(card_text(card).split("---\n")[1])["size_categories"] == [size]
    assert card.batch_size == batch
    assert images % batch != 1


def test_a_licence_is_an_identifier(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.license=CC BY: give the hub's identifier, e.g. cc-by-4.0"):
        folder_dataset(tmp_path, license="CC BY")


def test_the_example_on_the_card_trains_without_this_package(distilled: Path) -> None:
    code = example((distilled / "README.md").read_text())
    assert "ddselect" not in code
    assert len(code.splitlines()) <= 15
    found = run_example(distilled)
    losses = [float(value) for value in re.findall(r"loss ([\d.]+)", found["said"])]
    assert len(losses) == 20
    assert losses[-1] < 0.5 * losses[0]
    right = (found["model"](found["images"]).argmax(1) == found["labels"]).float().mean()
    assert right > 0.5  # chance is 0.1

"""The whole pipeline on class folders of images, with each family of priors."""

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from ddselect.config import build_experiment
from ddselect.dataset.classes import imagenet_classes
from ddselect.dataset.scenes import render
from ddselect.experiment import Experiment
from ddselect.options import conf_dir
from ddselect.pipeline import run
from ddselect.prompt.conditions import read_conditions
from ddselect.runtime.errors import UserError
from tests.helpers.models import write_dit

TEACHER = ["teacher=trained", "teacher.recipe.steps=60", "teacher.recipe.batch_size=16"]
FAST = ["protocol.steps=4", "protocol.evaluations=2", "compare=[]", "ipc=1", "scoring.draws=2", "backbone.dtype=fp32"]
FAST += ["scoring.check_prior=false"]  # untrained


def write_colours(root: Path, classes: list[str]) -> Path:
    """Class folders that a teacher learns in a moment: each class is a shade of grey with noise."""
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for number, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for image in range(count):
                shade = np.full((36, 40, 3), 70 * number + 30) + random.integers(0, 30, (36, 40, 3))
                Image.fromarray(shade.astype(np.uint8)).save(folder / f"{image}.png")
    return root


def experiment(folder: Path, overrides: list[str]) -> Experiment:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return build_experiment(compose("config", [*FAST, f"store={folder / 'store'}", *overrides]))


def results_of(folder: Path, overrides: list[str]) -> dict:
    path = folder / "run" / "results.json"
    assert run(experiment(folder, overrides), folder / "run") == [("results", path)]
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes as a user might have them: doubled, on wider canvases, as JPEG."""
    root = tmp_path_factory.mktemp("digits")
    for split, count in (("train", 80), ("val", 40)):
        scenes = render(count, seed=11, split="train" if split == "train" else "test")
        for number, (image, label) in enumerate(zip(scenes.images, scenes.labels, strict=True)):
            folder = root / split / str(int(label))
            folder.mkdir(parents=True, exist_ok=True)
            canvas = Image.new("RGB", (64 + number % 7, 64))
            small = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((64, 64), Image.Resampling.BICUBIC)
            canvas.paste(small, ((number % 7) // 2, 0))
            canvas.save(folder / f"{number}.jpg", quality=95)
    return root


@pytest.mark.slow
def test_embedded_prior_on_a_folder(digits: Path, tmp_path: Path) -> None:
    found = results_of(tmp_path, ["dataset=imagefolder", f"dataset.root={digits}", "boxes.per_image=2"])
    assert found["results"][0]["dataset"] == "imagefolder"
    assert found["results"][0]["test_images"] == 40
    assert found["localisation"] is None
    line = next((tmp_path / "store" / "composition").glob("*/distilled/metadata.jsonl")).read_text().splitlines()[0]
    entry = json.loads(line)
    assert sorted(patch["cell"] for patch in entry["patches"]) == [[0, 0], [0, 1], [1, 0], [1, 1]]
    for patch in entry["patches"]:
        x0, y0, x1, y1 = patch["box"]
        assert (x1 - x0, y1 - y0) == (32, 32)  # half of a 64-pixel view, in the file's own pixels
        with Image.open(digits / patch["source"]) as image:
            assert 0 <= x0 < x1 <= image.width


@pytest.mark.slow
def test_coresets_need_no_scores_and_share_what_the_teacher_judged(digits: Path, tmp_path: Path) -> None:
    chosen = ["dataset=imagefolder", f"dataset.root={digits}", "ipc=9", "composition.whole=0.5"]  # of 8 images a class
    found = results_of(tmp_path, [*chosen, "selection=herding", "compare=[rded,kcenter]", "trainer.students=1"])
    counts = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "store").iterdir()}
    once = {"index": 1, "teacher": 1, "test_views": 1, "teacher_check": 1, "teacher_crops": 1}
    # what coresets read is one embedding; rded reads none, and its set is compared with all images alone
    assert counts == {**once, "embed": 2, "selection": 3, "composition": 3, "quality": 3, "student": 3}
    for entry in found["results"]:
        assert 0 < entry["quality"]["coverage"] <= 1
        assert entry["localisation"] is None  # nobody knows where the digits are
        folder = tmp_path / "store" / "selection" / entry["fingerprints"]["selection"]
        after = json.loads((folder / "manifest.json").read_text())["after"]
        assert ("embed" in after) == (entry["selection"] != "rded")
    again = results_of(tmp_path, [*chosen, "selection=moderate", "evaluation.quality=false"])
    assert again["results"][0]["quality"] is None
    assert len(list((tmp_path / "store" / "teacher_crops").iterdir())) == 1
    assert len(list((tmp_path / "store" / "embed").iterdir())) == 2


@pytest.mark.slow
def test_prompt_none_scores_any_classes(tmp_path: Path) -> None:
    root = write_colours(tmp_path / "animals", ["ant", "bee", "cow"])
    found = results_of(tmp_path, ["dataset=imagefolder", f"dataset.root={root}", "prompt=none", *TEACHER])
    assert found["results"][0]["prompt"] == "none"
    assert read_conditions(next((tmp_path / "store" / "prompt").iterdir())).reference is None
    assert found["results"][0]["training_images"] == 3
    assert found["teacher"]["top1"] > 50


def test_a_class_unknown_to_the_prior_is_refused(tmp_path: Path) -> None:
    root = write_colours(tmp_path / "animals", ["ant", "bee", "cow"])
    with pytest.raises(UserError, match=r"backbone embedded knows the classes 0, 1, .*not 'ant'; use prompt=none"):
        results_of(tmp_path, ["dataset=imagefolder", f"dataset.root={root}", *TEACHER])
    assert not (tmp_path / "store").exists()  # before any work


@pytest.mark.slow
def test_dit_on_imagenet_folders(tmp_path: Path) -> None:
    """A small DiT of the real class and layout, on folders named by WordNet ID."""
    root = write_colours(tmp_path / "imagenet", [imagenet_classes()[i] for i in (0, 207, 980)])
    overrides = [
        "dataset=imagenet1k",
        "dataset.classes=any",
        f"dataset.root={root}",
        "dataset.image_size=32",
        f"backbone.path={write_dit(tmp_path / 'dit')}",
        "backbone.image_size=8",
        "scoring.workers=0",
        "trainer=cpu",
        "student=small_resnet16",
        "protocol.epochs=0",
        *TEACHER,
    ]
    found = results_of(tmp_path, overrides)["results"][0]
    assert (found["backbone"], found["protocol"], found["training_images"]) == ("dit_xl_2_256", "rded", 3)
    stages = {
        "index",
        "teacher",
        "test_views",
        "teacher_check",
        "prompt",
        "prior_check",
        "scoring",
        "boxes",
        "embed",
        "selection",
        "composition",
        "quality",
        "student",
    }
    assert found["fingerprints"].keys() == stages
    lines = next((tmp_path / "store" / "prompt").glob("*/prompts.csv")).read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [imagenet_classes()[i] for i in (0, 207, 980)]
    assert [line.split(",")[-2:] for line in lines[1:]] == [[f"class {i}", "null class 1000"] for i in (0, 207, 980)]


def test_a_run_can_end_with_its_prompts(tmp_path: Path) -> None:
    """What every class is compared with can be read before the scoring that takes long; no teacher is needed."""
    root = write_colours(tmp_path / "digits", ["3", "1"])
    chosen = ["dataset=imagefolder", f"dataset.root={root}", "stages=[prompt]", "selection=random_image"]
    reached = run(experiment(tmp_path, chosen), tmp_path / "run")
    (folder,) = (tmp_path / "store" / "prompt").iterdir()
    assert reached == [("prompt", folder)]
    assert read_conditions(folder).positive == [1, 3]  # class folders in order of their names
    assert {stage.name for stage in (tmp_path / "store").iterdir()} == {"index", "prompt"}
    assert not (tmp_path / "run").exists()

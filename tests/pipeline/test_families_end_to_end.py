"""Runs over class folders, down to the scores, with a prior of each family from a local folder or the hub's cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from ddselect.config import build_experiment
from ddselect.dataset.index import Index
from ddselect.options import conf_dir
from ddselect.pipeline import run
from ddselect.prompt.conditions import PROMPTS, read_prompts
from ddselect.runtime.errors import UserError
from ddselect.scoring.maps import read_image_scores, read_maps
from tests.helpers.data import write_folder
from tests.helpers.families import CLASSES, TEXT, UNCONDITIONAL, write_sd15
from tests.helpers.models import write_class_unet

ALL = {**TEXT, **CLASSES, **UNCONDITIONAL}
WNIDS = {"n02219486": "ant", "n02206856": "bee", "n01667114": "mud turtle"}  # classes 310, 309 and 35 of a DiT
FAST = [
    "dataset=imagefolder",
    "dataset.names=imagenet",
    "scoring.draws=2",
    "backbone.dtype=fp32",
    "stages=[scoring]",
    "scoring.check_prior=false",
]
SENTENCES = [
    "prompt=text",
    'prompt.templates=["a photo of a {label}","the {label}"]',
    'prompt.reference=["an animal",""]',
]
SAID = "class,description\nbee,an insect with six legs\nbee,makes wax\nn02219486,an {label}\nmud turtle,an animal\n"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training images of several sizes of each class."""
    return write_folder(tmp_path_factory.mktemp("images"), classes=list(WNIDS), per_class=5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs share the index."""
    return tmp_path_factory.mktemp("store")


def scores_of(images: Path, store: Path, *overrides: str) -> Path:
    """Folder of the scores of a run."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", [*FAST, f"dataset.root={images}", f"store={store}", *overrides])
    [(name, folder)] = run(build_experiment(cfg), store / "run")
    assert name == "scoring"
    return folder


def assert_scores(folder: Path, side: int) -> None:
    """Every image has a finite map, and they are not all the same."""
    table = read_image_scores(folder)
    assert sorted(label for label in table["label"].to_pylist()) == [0] * 5 + [1] * 5 + [2] * 5
    maps = read_maps(folder, None, 0.75)
    assert np.unique([float(np.abs(plane).sum()) for plane in maps.values()]).size == 15
    assert {values.shape for values in maps.values()} == {(side, side)}
    assert len(maps) == 15
    assert all(np.isfinite(values).all() and values.any() for values in maps.values())


def prompts(store: Path) -> dict[str, tuple[str, str]]:
    """What the latest prompt stage compares, by class name."""
    folder = max((store / "prompt").iterdir(), key=lambda path: (path / PROMPTS).stat().st_mtime_ns)
    lines = read_prompts(folder)
    assert {line["folder"]: line["class"] for line in lines} == WNIDS
    return {line["class"]: (line["positive"], line["reference"]) for line in lines}


TEMPLATES = {name: (f"a photo of a {name} | the {name}", "an animal | (empty prompt)") for name in WNIDS.values()}
CASES = [
    ("sd15", SENTENCES, TEMPLATES),
    ("sd21", ["prompt=label"], {name: (name, "(empty prompt)") for name in WNIDS.values()}),
    ("sdxl", ["prompt=text"], {name: (f"a photo of a {name}", "a photo") for name in WNIDS.values()}),
    ("sd3", ["prompt=label"], {name: (name, "(empty prompt)") for name in WNIDS.values()}),
    ("sd3_without_t5", ["prompt=none"], dict.fromkeys(WNIDS.values(), ("(empty prompt)", ""))),
    (
        "dit",
        ["prompt=label"],
        {
            "ant": ("class 310", "null class 1000"),
            "bee": ("class 309", "null class 1000"),
            "mud turtle": ("class 35", "null class 1000"),
        },
    ),
    ("dit", ["prompt=none"], dict.fromkeys(WNIDS.values(), ("(no condition)", ""))),
    ("class_unet", ["prompt=none"], dict.fromkeys(WNIDS.values(), ("(no condition)", ""))),
    ("ddpm", ["prompt=none"], dict.fromkeys(WNIDS.values(), ("(no condition)", ""))),
    ("ddpm_in_parts", ["prompt=none"], dict.fromkeys(WNIDS.values(), ("(no condition)", ""))),
]


@pytest.mark.parametrize(("name", "mode", "wanted"), CASES, ids=[f"{name}-{mode[0][7:]}" for name, mode, _ in CASES])
def test_a_family_scores_images(
    name: str, mode: list[str], wanted: dict[str, tuple[str, str]], images: Path, store: Path, tmp_path: Path
) -> None:
    family = ALL[name]
    chosen = [f"backbone={family.option}", f"backbone.path={family.write(tmp_path / 'prior')}"]
    folder = scores_of(images, store, *chosen, f"backbone.image_size={family.image_size}", *mode)
    assert_scores(folder, 16 if name.startswith("ddpm") else family.image_size // 2)
    assert prompts(store) == wanted


def test_kept_latents_serve_every_prompt(
    images: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ["backbone=sd15", f"backbone.path={write_sd15(tmp_path / 'prior')}", "backbone.image_size=16"]
    direct = read_image_scores(scores_of(images, store, *chosen, "prompt=label"))
    kept = read_image_scores(scores_of(images, store, *chosen, "prompt=label", "scoring.keep_latents=true"))
    assert kept["id"] == direct["id"]
    np.testing.assert_allclose(kept["image_score"], direct["image_score"], rtol=0.02, atol=2e-4)

    def unread(*_: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr(Index, "read", unread)
    other = scores_of(images, store, *chosen, *SENTENCES, "scoring.keep_latents=true", "scoring.draws=4")
    assert_scores(other, 8)
    assert len(list((store / "latents").iterdir())) == 1


def test_labels_are_found_among_the_names_that_a_prior_knows(images: Path, store: Path, tmp_path: Path) -> None:
    """In an order of its own."""
    prior = write_class_unet(tmp_path / "prior", ["mud turtle", "cow", "ant", "bee"])
    chosen = ["backbone=class_unet", f"backbone.path={prior}", "backbone.image_size=16", "prompt=label"]
    assert_scores(scores_of(images, store, *chosen), 8)
    null = "null class 4"
    assert prompts(store) == {"ant": ("class 2", null), "bee": ("class 3", null), "mud turtle": ("class 0", null)}


def test_sentences_come_from_a_file(images: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "said.csv").write_text(SAID)
    chosen = ["backbone=sd15", f"backbone.path={write_sd15(tmp_path / 'prior')}", "backbone.image_size=16"]
    assert_scores(scores_of(images, store, *chosen, "prompt=text", f"prompt.descriptions={tmp_path / 'said.csv'}"), 8)
    said = {"ant": "an ant", "bee": "an insect with six legs | makes wax", "mud turtle": "an animal"}
    assert prompts(store) == {name: (sentence, "a photo") for name, sentence in said.items()}


def test_sentences_come_from_wordnet(images: Path, store: Path, tmp_path: Path) -> None:
    chosen = ["backbone=sd15", f"backbone.path={write_sd15(tmp_path / 'prior')}", "backbone.image_size=16"]
    assert_scores(scores_of(images, store, *chosen, "prompt=text", "prompt.descriptions=imagenet"), 8)
    for name, (sentence, reference) in prompts(store).items():
        assert sentence.startswith(f"{name}, ")
        assert reference == "a photo"


def test_a_mode_that_does_not_suit_is_refused_before_any_work(images: Path, tmp_path: Path) -> None:
    prior = UNCONDITIONAL["ddpm"].write(tmp_path / "prior")
    for mode, words in (("text", "takes classes, not sentences"), ("label", "is unconditional and knows no classes")):
        with pytest.raises(UserError, match=words):
            scores_of(images, tmp_path / "store", "backbone=ddpm", f"backbone.path={prior}", f"prompt={mode}")
    assert not (tmp_path / "store").exists()


def test_another_prompt_or_another_prior_is_scored_anew(images: Path, tmp_path: Path) -> None:
    """And the same again is not."""
    prior, store = write_sd15(tmp_path / "prior"), tmp_path / "store"
    chosen = ["backbone=sd15", f"backbone.path={prior}", "backbone.image_size=16"]
    first = scores_of(images, store, *chosen, "prompt=label")
    other = scores_of(images, store, *chosen, "prompt=text", 'prompt.templates=["the {label}"]')
    assert first != other
    prior.rename(tmp_path / "moved")
    assert scores_of(images, store, "backbone=sd15", f"backbone.path={tmp_path / 'moved'}", *chosen[2:]) == first
    config = tmp_path / "moved" / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.012", "0.02"))
    assert scores_of(images, store, "backbone=sd15", f"backbone.path={tmp_path / 'moved'}", *chosen[2:]) != first


@pytest.mark.slow
def test_a_prior_from_the_hubs_cache(images: Path, store: Path, tmp_path: Path) -> None:
    """As a cluster node without a network has it; the command line, in a process of its own."""
    model = tmp_path / "cache" / "models--somebody--sd15"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0" * 40)
    write_sd15(model / "snapshots" / ("0" * 40))
    local = write_sd15(tmp_path / "local")
    run_py = Path(__file__).parents[2] / "run.py"
    chosen = ["backbone=sd15", "backbone.path=somebody/sd15", "backbone.image_size=16", "prompt=label"]
    words = [*FAST, f"dataset.root={images}", "store=store", *chosen]
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(run_py), *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("scoring: store/scoring/")
    folder = tmp_path / done.stdout.removeprefix("scoring: ").strip()
    assert_scores(folder, 8)
    wanted = scores_of(images, store, *chosen[:1], f"backbone.path={local}", *chosen[2:])
    np.testing.assert_allclose(read_image_scores(folder)["image_score"], read_image_scores(wanted)["image_score"])

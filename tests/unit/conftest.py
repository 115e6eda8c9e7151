"""Data and models that many unit tests only read."""

from pathlib import Path

import pytest

from ddselect.backbone.denoiser import Denoiser
from ddselect.dataset.index import Index
from tests.helpers.data import folder_index, scene_index, write_folder
from tests.helpers.models import load_class_unet, write_class_unet


@pytest.fixture(scope="session")
def unet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_unet(tmp_path_factory.mktemp("unet"))


@pytest.fixture(scope="session")
def unet(unet_folder: Path) -> Denoiser:
    """For 16-pixel images of ant, bee, cow: 8 x 8 latents of 12 channels."""
    return load_class_unet(unet_folder)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The embedded dataset, 60 / 10 / 20 scenes."""
    return scene_index(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The training split of ant, bee and cow: 30 images each of several sizes, PNG and JPEG."""
    root = write_folder(tmp_path_factory.mktemp("animals"), per_class=30)
    return folder_index(root, tmp_path_factory.mktemp("animals-index")).split("train")

"""Which conditions a prompt mode compares, how they are stored, and which backbones a mode suits.

Texts and their embeddings have tests of their own.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddselect.backbone.choice import ClassBackboneConfig
from ddselect.prompt.conditions import Conditions, read_conditions, read_prompts, write_conditions
from ddselect.prompt.modes import LabelPromptConfig, NoPromptConfig, PromptConfig, TextPromptConfig
from ddselect.runtime.errors import UserError
from ddselect.scoring.module import evaluations
from ddselect.scoring.settings import ScoringConfig
from tests.helpers.models import CPU, class_unet, dit, write_class_unet, write_ddpm, write_dit

NAMES, FOLDERS = ["cow", "ant"], ["n2", "n1"]


@pytest.fixture
def backbone(unet_folder: Path) -> ClassBackboneConfig:
    """Knows ant, bee and cow."""
    return class_unet(unet_folder)


def test_label_is_the_class_against_the_null_class(backbone: ClassBackboneConfig) -> None:
    words = ["class 2", "class 0", "null class 3"]
    assert backbone.conditions(LabelPromptConfig(), NAMES, FOLDERS, CPU) == Conditions([2, 0], 3, {}, words)


def test_none_is_the_null_class_alone_and_knows_any_class(backbone: ClassBackboneConfig) -> None:
    words = ["(no condition)", "(no condition)", ""]
    assert backbone.conditions(NoPromptConfig(), ["whale", "yak"], ["w", "y"], CPU) == Conditions(
        [3, 3], None, {}, words
    )


def test_none_suits_an_unconditional_prior(tmp_path: Path) -> None:
    conditions = class_unet(write_ddpm(tmp_path)).conditions(NoPromptConfig(), NAMES, FOLDERS, CPU)
    assert (conditions.positive, conditions.reference) == ([0, 0], None)


def test_none_costs_half_the_network_evaluations(backbone: ClassBackboneConfig) -> None:
    settings = ScoringConfig(draws=6)
    assert evaluations(backbone.conditions(LabelPromptConfig(), NAMES, FOLDERS, CPU), settings) == 12
    assert evaluations(backbone.conditions(NoPromptConfig(), NAMES, FOLDERS, CPU), settings) == 6


def test_modes_have_the_names_that_results_use() -> None:
    assert (LabelPromptConfig.mode, NoPromptConfig.mode, TextPromptConfig.mode) == ("label", "none", "text")


Use = Callable[[ClassBackboneConfig, PromptConfig, list[str], list[str]], object]
USES: list[Use] = [
    lambda backbone, *settings: backbone.check(*settings),
    lambda backbone, *settings: backbone.conditions(*settings, CPU),
]


@pytest.mark.parametrize("use", USES, ids=["check", "conditions"])
class TestRefusals:
    """The same refusal before any work and where the conditions are made."""

    def test_sentences_for_a_class_conditional_prior(self, backbone: ClassBackboneConfig, use: Use) -> None:
        with pytest.raises(UserError, match=r"^prompt=text: backbone tiny takes classes, not sentences; use .*label"):
            use(backbone, TextPromptConfig(), NAMES, FOLDERS)

    def test_sentences_for_a_dit(self, tmp_path: Path, use: Use) -> None:
        with pytest.raises(UserError, match=r"^prompt=text: backbone tiny DiT takes classes, not sentences"):
            use(dit(write_dit(tmp_path)), TextPromptConfig(), NAMES, ["n01440764", "n15075141"])

    def test_labels_for_an_unconditional_prior(self, tmp_path: Path, use: Use) -> None:
        with pytest.raises(UserError, match=r"^backbone tiny is unconditional and knows no classes; use prompt=none,"):
            use(class_unet(write_ddpm(tmp_path)), LabelPromptConfig(), NAMES, FOLDERS)

    def test_a_class_that_the_prior_does_not_know(self, backbone: ClassBackboneConfig, use: Use) -> None:
        with pytest.raises(UserError, match=r"^backbone tiny knows the classes ant, bee, cow, not 'yak'; use prompt="):
            use(backbone, LabelPromptConfig(), ["cow", "yak"], FOLDERS)
        use(backbone, NoPromptConfig(), ["cow", "yak"], FOLDERS)


def test_a_check_reads_no_weights(tmp_path: Path) -> None:
    """It comes before all work, so it must not cost a load of the model, let alone a download of it."""
    backbone = class_unet(write_class_unet(tmp_path / "unet"))
    (tmp_path / "unet" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    imagenet = dit(write_dit(tmp_path / "dit"))
    for file in (tmp_path / "dit").rglob("*.safetensors"):
        file.unlink()
    backbone.check(LabelPromptConfig(), NAMES, FOLDERS)
    imagenet.check(LabelPromptConfig(), NAMES, ["n01440764", "n15075141"])
    assert backbone.conditions(LabelPromptConfig(), NAMES, FOLDERS, CPU).positive == [2, 0]
    for each in (backbone, imagenet):
        with pytest.raises(UserError, match="cannot load"):
            each.load(CPU)


TABLE = {
    "context": torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0)),
    "pooled": torch.randn(3, 5, generator=torch.Generator().manual_seed(1)),
}
STORED = {
    "label": Conditions([2, 0], 3, {}, ["class 2", "class 0", "null class 3"]),
    "none": Conditions([3, 3], None, {}, ["(no condition)", "(no condition)", ""]),
    "text": Conditions([0, 2], 1, TABLE, ['a "big" cow, grazing | a cow', "une fourmi\n(à midi)", "(empty prompt)"]),
}


@pytest.mark.parametrize("mode", STORED)
def test_conditions_come_back_as_they_were_stored(mode: str, tmp_path: Path) -> None:
    wanted = STORED[mode]
    write_conditions(tmp_path, wanted, NAMES, FOLDERS)
    assert {file.name for file in tmp_path.iterdir()} == {"conditions.safetensors", "prompts.csv"}
    found = read_conditions(tmp_path)
    assert (found.positive, found.reference, found.words) == (wanted.positive, wanted.reference, wanted.words)
    assert found.table.keys() == wanted.table.keys()
    for name, rows in wanted.table.items():
        assert found.table[name].dtype == rows.dtype
        assert torch.equal(found.table[name], rows)


def test_prompts_can_be_read_in_a_table(tmp_path: Path) -> None:
    """One line for each class in the dataset's order, quoted as every reader of CSV understands."""
    write_conditions(tmp_path, STORED["text"], NAMES, FOLDERS)
    with (tmp_path / "prompts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["folder", "class", "positive", "reference"],
        ["n2", "cow", 'a "big" cow, grazing | a cow', "(empty prompt)"],
        ["n1", "ant", "une fourmi\n(à midi)", "(empty prompt)"],
    ]
    assert [list(line.values()) for line in read_prompts(tmp_path)] == rows[1:]


def test_prompts_of_labels_in_plain_text(backbone: ClassBackboneConfig, tmp_path: Path) -> None:
    write_conditions(tmp_path, backbone.conditions(LabelPromptConfig(), NAMES, FOLDERS, CPU), NAMES, FOLDERS)
    assert (tmp_path / "prompts.csv").read_text() == (
        "folder,class,positive,reference\nn2,cow,class 2,null class 3\nn1,ant,class 0,null class 3\n"
    )
    write_conditions(tmp_path, backbone.conditions(NoPromptConfig(), NAMES, FOLDERS, CPU), NAMES, FOLDERS)
    assert (tmp_path / "prompts.csv").read_text() == (
        "folder,class,positive,reference\nn2,cow,(no condition),\nn1,ant,(no condition),\n"
    )


def test_a_condition_for_every_class_or_none_is_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        write_conditions(tmp_path, STORED["label"], [*NAMES, "bee"], [*FOLDERS, "n3"])
    assert not list(tmp_path.iterdir())

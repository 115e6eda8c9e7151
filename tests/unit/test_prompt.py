"""Which conditions a prompt mode compares."""

from ddselect.backbone.denoiser import Denoiser
from ddselect.prompt.modes import Conditions, LabelPrompt, NoPrompt
from ddselect.scoring.module import evaluations
from ddselect.scoring.settings import Scoring

NAMES = ["cow", "ant"]


def test_label_is_the_class_against_the_null_class(unet: Denoiser) -> None:
    assert LabelPrompt().conditions(unet, NAMES, NAMES) == Conditions([2, 0], 3)


def test_none_is_the_null_class_alone_and_knows_any_class(unet: Denoiser) -> None:
    assert NoPrompt().conditions(unet, ["whale", "yak"], ["w", "y"]) == Conditions([3, 3], None)


def test_none_costs_half_the_network_evaluations(unet: Denoiser) -> None:
    settings = Scoring(draws=6)
    assert evaluations(LabelPrompt().conditions(unet, NAMES, NAMES), settings) == 12
    assert evaluations(NoPrompt().conditions(unet, NAMES, NAMES), settings) == 6


def test_modes_have_the_names_that_results_use() -> None:
    assert (LabelPrompt.mode, NoPrompt.mode) == ("label", "none")

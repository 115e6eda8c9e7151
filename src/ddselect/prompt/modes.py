"""Prompt modes: which two conditions an image's denoising losses are compared under (METHOD: none, label)."""

from dataclasses import dataclass
from typing import ClassVar

from ddselect.backbone.denoiser import Denoiser
from ddselect.runtime.errors import UserError


@dataclass
class Conditions:
    """The conditions of every class, as class indices of a class-conditional backbone.

    Attributes:
        positive: For each dataset class, the condition that explains it.
        reference: The condition it is compared with; None if the loss under ``positive`` itself is the score.
    """

    positive: list[int]
    reference: int | None


@dataclass
class Prompt:
    """A prompt mode."""

    mode: ClassVar[str] = ""

    def conditions(self, denoiser: Denoiser, class_names: list[str], class_folders: list[str]) -> Conditions:
        """Conditions of the dataset's classes on a backbone.

        Raises:
            UserError: The backbone does not know a class.
        """
        raise UserError(f"prompt {self.mode}: no conditions")


@dataclass
class LabelPrompt(Prompt):
    """The class itself against the null class: label information only."""

    mode: ClassVar[str] = "label"

    def conditions(self, denoiser: Denoiser, class_names: list[str], class_folders: list[str]) -> Conditions:
        return Conditions(denoiser.class_indices(class_names, class_folders), denoiser.null_class)


@dataclass
class NoPrompt(Prompt):
    """No condition: a patch's own unconditional loss against its image's mean loss."""

    mode: ClassVar[str] = "none"

    def conditions(self, denoiser: Denoiser, class_names: list[str], class_folders: list[str]) -> Conditions:
        return Conditions([denoiser.null_class] * len(class_names), None)

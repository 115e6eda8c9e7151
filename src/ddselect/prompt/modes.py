"""Prompt modes: which two conditions an image's denoising losses are compared under (none, label, text)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ddselect.dataset.class_files import read_descriptions
from ddselect.dataset.classes import imagenet_descriptions
from ddselect.runtime.errors import UserError
from ddselect.runtime.files import file_signature
from ddselect.runtime.store import execution

LABEL = "{label}"


@dataclass(frozen=True)
class Texts:
    """Prompts for a text-conditional backbone; several for one condition are averaged in embedding space.

    Attributes:
        positive: For each dataset class, the texts that explain it.
        reference: The texts they are compared with; None if the loss under ``positive`` itself is the score.
    """

    positive: list[list[str]]
    reference: list[str] | None


@dataclass
class PromptConfig:
    """A prompt mode, which compares so many ``conditions``."""

    mode: ClassVar[str] = ""
    conditions: ClassVar[int] = 2

    @property
    def tells_classes(self) -> bool:
        """Whether the positive conditions of two classes differ."""
        return False

    def texts(self, class_names: list[str], class_folders: list[str]) -> Texts:
        """The texts of the dataset's classes.

        Raises:
            UserError: A class has no description.
        """
        raise UserError(f"prompt {self.mode}: no texts")

    def signature(self) -> str:
        """Changes when a file that the prompt reads does."""
        return ""


@dataclass
class LabelPromptConfig(PromptConfig):
    """The class itself against no condition; in words, its bare name against an empty prompt."""

    mode: ClassVar[str] = "label"

    @property
    def tells_classes(self) -> bool:
        return True

    def texts(self, class_names: list[str], class_folders: list[str]) -> Texts:
        return Texts([[name] for name in class_names], [""])


@dataclass
class NoPromptConfig(PromptConfig):
    """No condition: a patch's own unconditional loss against its image's mean loss."""

    mode: ClassVar[str] = "none"
    conditions: ClassVar[int] = 1

    def texts(self, class_names: list[str], class_folders: list[str]) -> Texts:
        return Texts([[""] for _ in class_names], None)


@dataclass
class TextPromptConfig(PromptConfig):
    """Sentences, with or without the label, against sentences without it."""

    templates: list[str] = field(default_factory=lambda: ["a photo of a {label}"])
    reference: list[str] = field(default_factory=lambda: ["a photo"])
    descriptions: str = execution("")

    mode: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        if not self.templates or not self.reference:
            raise UserError("prompt.templates and prompt.reference: at least one sentence each is needed")
        for name in ("templates", "reference"):
            for text in getattr(self, name):
                if "{" in text.replace(LABEL, "") or "}" in text.replace(LABEL, ""):
                    raise UserError(f"prompt.{name}: '{text}': {LABEL} is the only placeholder")
        if any(LABEL in text for text in self.reference):
            raise UserError(f"prompt.reference={self.reference}: the reference has no {LABEL}")
        if not self.descriptions and sorted(self.templates) == sorted(self.reference):
            raise UserError("prompt.templates and prompt.reference are the same: there would be nothing to compare")

    @property
    def tells_classes(self) -> bool:
        return bool(self.descriptions) or any(LABEL in text for text in self.templates)

    def texts(self, class_names: list[str], class_folders: list[str]) -> Texts:
        sentences = [self.templates] * len(class_names)
        if self.descriptions == "imagenet":
            sentences = [[sentence] for sentence in imagenet_descriptions(class_folders)]
        elif self.descriptions:
            sentences = read_descriptions(self.descriptions, class_names, class_folders)
        filled = [[s.replace(LABEL, name) for s in mine] for name, mine in zip(class_names, sentences, strict=True)]
        return Texts(filled, list(self.reference))

    def signature(self) -> str:
        return file_signature(Path(self.descriptions)) or self.descriptions

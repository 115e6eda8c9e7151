"""What to ask where folders do not say clearly what the classes are, or which images are theirs."""

from collections.abc import Collection
from pathlib import Path

from ddselect.dataset.formats import is_named_as_picture
from ddselect.dataset.layout import subfolders

_SHOWN = 3  # names in a message


def only_class(folder: Path, setting: str, splits: tuple[str, str]) -> str:
    """What to say of the only class folder that there is.

    Args:
        folder: The class folder.
        setting: What to set if the classes are the folders in it.
        splits: Names of folders of training and of test images, which it may hold too.
    """
    text = (
        f"{folder.parent} has one class folder, {folder.name}/, and two classes are the least that can be told apart; "
    )
    inner = [f"{child.name}/" for child in subfolders(folder)]
    if not inner:
        return f"{text}put each class into a folder of its own there"
    if all((folder / name).is_dir() for name in splits):
        setting = f"dataset.root={folder} dataset.holdout=0"
    return f"{text}if {_some(inner)} in it are what should be read, set {setting}"


def is_unclear(own: Collection[str], deeper: Collection[str]) -> bool:
    """Whether files below a class folder's own folders may be meant as its images; others lie there as well."""
    return any(map(is_named_as_picture, deeper)) or bool(deeper and not own)


def nested(folder: Path, own: int, deeper: Collection[str]) -> str:
    """What to say of a class folder with so many files of its own, and files in folders below it (relative paths)."""
    inner = {f"{path.partition('/')[0]}/": None for path in deeper}
    return (
        f"class folder {folder} has {own or 'no'} files itself and {len(deeper)} in folders below, {_some(inner)}; "
        f"if all are images of class {folder.name}, set dataset.nested=use; to leave out what lies below, "
        "dataset.nested=skip; if the folders below are the classes, move them up"
    )


def _some(names: Collection[str]) -> str:
    """The first of some names."""
    shown = ", ".join([*names][:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} ... ({len(names)} of them)"

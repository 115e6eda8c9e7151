"""Class names, descriptions and lists."""

import re
from functools import cache
from importlib.resources import files

from ddselect.dataset.class_files import SUFFIXES, read_names, table_of_text
from ddselect.runtime.errors import UserError

KINDS = ("folder", "imagenet", "imagenet_long")


def class_names(folders: list[str], kind: str) -> list[str]:
    """Names of classes from their folder names.

    Args:
        folders: Class folder names, in class order.
        kind: ``folder``: the folder's name is the class name. In the other kinds it is a WordNet ID. ``imagenet``: one
            short name, different for each class and clear as a prompt. ``imagenet_long``: all names in WordNet, with
            commas between them; some classes share some. Or a file of names (see :func:`read_names`).

    Raises:
        UserError: A folder is not an ImageNet WordNet ID, or not in the file.
    """
    if kind == "folder":
        return list(folders)
    if kind.lower().endswith(SUFFIXES):
        return read_names(kind, folders)
    lemmas = [names for names, _ in _wordnet(folders, "use dataset.names=folder")]
    return lemmas if kind == "imagenet_long" else _short(folders, lemmas)


def imagenet_descriptions(folders: list[str]) -> list[str]:
    """A sentence for each class: its short name, a comma, and WordNet's definition.

    Raises:
        UserError: A folder is not an ImageNet WordNet ID.
    """
    entries = _wordnet(folders, "only these have descriptions of their own")
    short = _short(folders, [lemmas for lemmas, _ in entries])
    return [f"{name}, {definition}" for name, (_, definition) in zip(short, entries, strict=True)]


def imagenet_classes() -> list[str]:
    """The 1000 WordNet IDs in the class order of pretrained models."""
    from timm.data import ImageNetInfo  # seconds to import

    return list(ImageNetInfo("imagenet-1k").label_names())


def class_lists() -> list[str]:
    """Names of the lists of classes in the package."""
    lists = files("ddselect.dataset") / "class_lists"
    return sorted(file.name.removesuffix(".txt") for file in lists.iterdir() if file.name.endswith(".txt"))


def class_list(name: str) -> list[str]:
    """Class folders of a dataset in the order that the literature gives them."""
    return (files("ddselect.dataset") / "class_lists" / f"{name}.txt").read_text(encoding="utf-8").split()


@cache
def better_names() -> dict[str, str]:
    """Names of ImageNet classes, by WordNet ID, for which WordNet's first lemma makes a poor prompt.

    A lemma is replaced where two classes share it, where it more often means another thing (*boxer*, *nail*), or where
    few captions use it (*ashcan*, *hair slide*). The name says what the class's images show, so *bib* is a baby's and
    *web site* a screenshot, whatever WordNet's definition. All other classes keep their first lemma.
    """
    return table_of_text((files("ddselect.dataset") / "imagenet_names.txt").read_text(encoding="utf-8"))


def _short(folders: list[str], lemmas: list[str]) -> list[str]:
    return [better_names().get(folder) or names.split(",")[0] for folder, names in zip(folders, lemmas, strict=True)]


def _wordnet(folders: list[str], remedy: str) -> list[tuple[str, str]]:
    """WordNet's lemmas, with commas between them, and definition of each class."""
    from timm.data import ImageNetInfo  # seconds to import

    info = ImageNetInfo("imagenet-1k")
    known = set(info.label_names())
    entries = []
    for folder in folders:
        if folder not in known:
            raise UserError(f"class folder '{folder}' is not an ImageNet-1K WordNet ID; {remedy}")
        lemmas = info.label_name_to_description(folder)
        definition = info.label_name_to_description(folder, detailed=True).removeprefix(f"{lemmas}: ")
        # a leading "(usually plural)" or "(computer science)" is about the word, not about what it names
        entries.append((lemmas, re.sub(r"^\([^)]*\) ", "", definition)))
    return entries

"""The class of every validation image where these lie in one flat folder (ILSVRC 2012, Tiny-ImageNet)."""

import csv
from collections import Counter
from pathlib import Path

from ddselect.dataset.formats import is_named_as_picture
from ddselect.dataset.layout import below, files_below, kind_of
from ddselect.runtime.errors import UserError, one_line
from ddselect.runtime.files import decode, read_text

DEVKIT, SOLUTION = Path("ILSVRC2012_devkit_t12") / "data", "LOC_val_solution.csv"
_TRUTH, _SYNSETS = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"


def ground_truth_files(place: Path) -> list[Path]:
    """The files that say it: those of the devkit in its folder, or one CSV file; none if they are not there."""
    if place.is_file():
        return [place]
    files = [place / _TRUTH, place / _SYNSETS]
    return files if all(file.is_file() for file in files) else []


def read_ground_truth(files: list[Path]) -> dict[str, str]:
    """WordNet ID of each validation image by the name of its file without suffix.

    Args:
        files: As :func:`ground_truth_files` gives them. The devkit's: line k has the ILSVRC id of
            ``ILSVRC2012_val_<k>``, and ``meta.mat`` the WordNet ID of every id. The CSV: in each line the image and its
            WordNet ID, as the first word of the second column (``LOC_val_solution.csv`` has boxes behind it).

    Raises:
        UserError: A file cannot be read.
    """
    try:
        return _from_csv(files[0]) if len(files) == 1 else _from_devkit(*files)
    except Exception as error:  # readers of damaged files raise anything
        raise UserError(f"{files[-1]}: no ground truth of validation images in it ({one_line(error)})") from None


def _from_devkit(truth: Path, synsets: Path) -> dict[str, str]:
    from scipy.io import loadmat  # a format of MATLAB that holds no code

    table = loadmat(synsets, squeeze_me=True)["synsets"]
    wnids = {int(number): str(wnid) for number, wnid in zip(table["ILSVRC2012_ID"], table["WNID"], strict=True)}
    numbers = [int(line) for line in decode(truth.read_bytes()).split()]
    return {f"ILSVRC2012_val_{place:08d}": wnids[number] for place, number in enumerate(numbers, start=1)}


def _from_csv(file: Path) -> dict[str, str]:
    lines = decode(file.read_bytes()).splitlines()
    return {Path(row[0]).stem: row[1].split()[0] for row in csv.reader(lines) if row}


def read_annotations(file: Path) -> dict[str, str]:
    """WordNet ID of each validation image of Tiny-ImageNet, from ``val_annotations.txt``, in the same form.

    Raises:
        UserError: A line has less than two columns.
    """
    rows = [line.split("\t") for line in read_text(file).splitlines() if line]
    if any(len(row) < 2 for row in rows):
        raise UserError(f"{file}: lines of image, tab and WordNet ID are needed")
    return {Path(row[0]).stem: row[1] for row in rows}


def sort_by_class(
    root: Path, folder: Path, truth: dict[str, str], classes: list[str], subset: bool, left_out: Counter[str]
) -> dict[str, list[str]]:
    """Paths, relative to the root, of the images of a flat folder that are of each class.

    The folder holds images at any depth; ``truth`` has the class of each by the name of its file without suffix;
    ``subset`` says whether images of other classes are left out, of which ``left_out`` is told.

    Raises:
        UserError: An image has no class, or another one.
    """
    found: dict[str, list[str]] = {name: [] for name in classes}
    for path in files_below(folder, left_out):
        name = truth.get(Path(path).stem)
        if name is None and not is_named_as_picture(path):
            left_out[kind_of(path)] += 1
        elif name is None:
            raise UserError(f"{folder / path}: its class is not in the ground truth; remove it, or give all of that")
        elif name in found:
            found[name].append(below(root, folder / path))
        elif subset:
            left_out["test images of other classes"] += 1
        else:
            raise UserError(f"{folder / path}: it is of class '{name}', of which there are no training images")
    return found

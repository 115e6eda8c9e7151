"""``ddselect export``: one distilled set of a run, in a folder of its own."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ddselect.export.finding import KEYS, find_distilled
from ddselect.export.writing import whole_folder, write_folder, write_tars
from ddselect.runtime.errors import UserError
from ddselect.runtime.progress import note

_MIB = 2**20


class _Parser(ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"export: {message}; see ddselect export --help")


def _parser() -> ArgumentParser:
    parser = _Parser("ddselect export", description="Copies a distilled set of a finished run to a folder.")
    parser.add_argument("run", type=Path, metavar="FOLDER", help="folder of the run: outputs/<date>")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--format",
        choices=("folder", "webdataset"),
        default="folder",
        help="folder (default): class folders, as ImageFolder and the library datasets read them; webdataset: tars",
    )
    parser.add_argument("--selection", help="which one, where the run has several")
    parser.add_argument("--seed", type=int, help="the same")
    parser.add_argument("--protocol", help="whose stored labels, where there are several")
    parser.add_argument("--student", help="the same")
    parser.add_argument("--shard-size", type=int, default=256, metavar="MIB", help="most MiB of a tar (default: 256)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    return parser


def export(arguments: Sequence[str]) -> Path:
    """Runs the command and returns the folder that it wrote.

    Raises:
        UserError: The arguments, the run or the folder do not fit.
    """
    asked = _parser().parse_args(arguments)
    if asked.shard_size < 1:
        raise UserError(f"--shard-size {asked.shard_size}: at least 1 MiB is needed")
    wanted = {key: getattr(asked, key) for key in KEYS if getattr(asked, key) is not None}
    found = find_distilled(asked.run, wanted)
    with whole_folder(asked.to, asked.overwrite) as folder:
        if asked.format == "folder":
            write_folder(found, folder)
        else:
            write_tars(found, folder, asked.shard_size * _MIB)
    labels = ", with the teacher's labels" if found.labels else ""
    note(f"{found.card.images} images of {found.card.selection}, seed {found.card.seed}{labels}")
    return Path(asked.to)

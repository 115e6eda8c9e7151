"""``ddselect export``: one distilled set of a run, in a folder of its own."""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from ddselect.export.finding import KEYS, find_distilled
from ddselect.export.pushing import push
from ddselect.export.writing import whole_folder, write_folder, write_tars
from ddselect.runtime.errors import UserError
from ddselect.runtime.hub import address
from ddselect.runtime.progress import note

_MIB = 2**20


class _Parser(ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"export: {message}; see ddselect export --help")


def _parser() -> ArgumentParser:
    parser = _Parser("ddselect export", description="Copies a distilled set of a finished run to a folder or the hub.")
    parser.add_argument("run", type=Path, metavar="FOLDER", help="folder of the run: outputs/<date>")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--push-to-hub", metavar="USER/NAME", help="a dataset of the Hugging Face hub, with card and labels"
    )
    parser.add_argument("--public", action="store_true", help="on the hub all may see it (default: nobody else)")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be written; nothing is, and nobody asked"
    )
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


def export(arguments: Sequence[str]) -> str:
    """Runs the command and returns where the set is now: the folder, the address on the hub, or both.

    Raises:
        UserError: The arguments, the run or the place do not fit.
    """
    asked = _parser().parse_args(arguments)
    if asked.shard_size < 1:
        raise UserError(f"--shard-size {asked.shard_size}: at least 1 MiB is needed")
    if not (asked.to or asked.push_to_hub):
        raise UserError("export: say where, --to <folder> or --push-to-hub <user>/<name>")
    if asked.push_to_hub and not re.fullmatch(r"[\w.-]+/[\w.-]+", asked.push_to_hub):
        raise UserError(f"--push-to-hub {asked.push_to_hub}: write <user>/<name>")
    wanted = {key: getattr(asked, key) for key in KEYS if getattr(asked, key) is not None}
    found = find_distilled(asked.run, wanted)
    places = [str(asked.to)] if asked.to else []
    with TemporaryDirectory() if asked.dry_run or not asked.to else nullcontext() as other:
        place = Path(other or asked.to) / ("set" if other else "")
        with whole_folder(place, asked.overwrite) as folder:
            if asked.format == "folder":
                write_folder(found, folder)
            else:
                write_tars(found, folder, asked.shard_size * _MIB)
        if asked.push_to_hub and not asked.dry_run:
            places.append(push(place, asked.push_to_hub, asked.public, asked.overwrite))
        sizes = [path.stat().st_size for path in place.rglob("*") if path.is_file()]
    labels = ", with the teacher's labels" if found.labels else ""
    note(f"{found.card.images} images of {found.card.selection}, seed {found.card.seed}{labels}")
    if asked.dry_run:
        seen = "public" if asked.public else "private"
        places += [f"{address(asked.push_to_hub)} ({seen})"] if asked.push_to_hub else []
        note(f"{len(sizes)} files, {sum(sizes) / _MIB:.1f} MiB, would go to {' and '.join(places)}")
        return "nothing, as --dry-run asks"
    return " and ".join(places)

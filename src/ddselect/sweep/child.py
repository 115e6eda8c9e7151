"""The process of one job of a sweep: a single run that ends with whoever started it, and leaves word why it failed.

Lightning starts further ranks with the same command; they end with the first one.
"""

import os
import sys
import threading
from pathlib import Path

from ddselect.cli import Leaving, main
from ddselect.runtime.errors import one_line
from ddselect.runtime.files import write_text
from ddselect.runtime.ranks import rank
from ddselect.sweep.job import ERROR, FOLDER


def run() -> None:
    """Runs the command line; in the run folder, its last argument, ``error.txt`` says in one line what went wrong."""
    if rank() > 0:
        main()
        return
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder = Path(sys.argv[-1].removeprefix(FOLDER))
    try:
        main()
    except BaseException as error:
        message = error.message if isinstance(error, Leaving) else f"{type(error).__name__}: {error}"
        write_text(folder / ERROR, one_line(message))
        raise


def _end_with_parent() -> None:
    """Ends this process when the other end of its standard input is gone."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    run()

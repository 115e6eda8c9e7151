"""Progress of long work on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ddselect.runtime.interruption import raise_if_interrupted
from ddselect.runtime.ranks import rank


def console_on(*, stderr: bool = False) -> Console:
    """A console that prints texts as they are: nothing in a path is a colour or an emoji, no table loses a column."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not stderr:
        made.width = max(made.width, _TABLE)
    return made


console = console_on(stderr=True)
_TABLE = 80  # characters that a table takes at least, however narrow the terminal
_TELL_EVERY = 10.0  # seconds between lines where standard error is not a terminal, and between words to listeners
Listener = Callable[[str, int, float], None]  # unit, number of units done, units per second
_listeners: list[Listener] = []


class _RateColumn(ProgressColumn):
    """Units per second since the start."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f} {task.fields['unit']}/s", style="dim")


class Counter:
    """Counts finished units of one piece of work."""

    def __init__(self, name: str, total: int, unit: str, bar: Progress | None) -> None:
        self._name, self._total, self._unit, self._bar = name, total, unit, bar
        self._before = 0
        self._done, self._start, self._shown = 0, time.monotonic(), time.monotonic()
        self._task = bar.add_task(name, total=total, unit=unit) if bar else None

    def resume(self, done: int) -> None:
        """Sets how many units were finished before."""
        self._before = self._done = done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    def advance(self, units: int = 1) -> None:
        """Reports that ``units`` more are finished.

        Raises:
            KeyboardInterrupt: The work was to end, see :mod:`ddselect.runtime.interruption`.
        """
        raise_if_interrupted()
        self._done += units
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, units)
        if rank() == 0 and time.monotonic() - self._shown > _TELL_EVERY:
            rate = self.tell()
            if self._bar is None:
                left = (self._total - self._done) / rate
                progress = f"{self._done}/{self._total} {self._unit}, {rate:.0f} {self._unit}/s, {left:.0f} s left"
                print(f"  {self._name}: {progress}", file=sys.stderr, flush=True)

    def tell(self) -> float:
        """Tells the listeners how far the work is, and returns the units per second."""
        self._shown = time.monotonic()
        rate = (self._done - self._before) / max(self._shown - self._start, 1e-9)
        for listener in _listeners:
            listener(self._unit, self._done, rate)
        return rate


@contextmanager
def counting(name: str, total: int, unit: str) -> Iterator[Counter]:
    """Shows how far a piece of work is, its rate and its remaining time; the display goes when the work is done."""
    with _display() as bar:
        counter = Counter(name, total, unit, bar)
        try:
            yield counter
        finally:
            counter.tell()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells somebody now and then, and at its end, how far each piece of work is."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _display() -> AbstractContextManager[Progress | None]:
    """A bar on a terminal."""
    if rank() > 0 or not console.is_terminal:
        return nullcontext()
    numbers = MofNCompleteColumn(), _RateColumn(), TimeRemainingColumn()
    return Progress(
        TextColumn("  {task.description}", markup=False), BarColumn(), *numbers, console=console, transient=True
    )


def note(text: str, style: str = "") -> None:
    """One line about what is going on, on standard error, from the first rank only; the style is one of rich."""
    if rank() == 0:
        console.print(text, style=style, soft_wrap=True)


def remark(text: str) -> None:
    """One line about the work in hand, below that of :func:`note`; a process whose notes are not shown shows it too."""
    if rank() == 0:
        print(f"  {text}", file=sys.stderr, flush=True)

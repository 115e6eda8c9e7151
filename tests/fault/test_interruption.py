"""Ctrl-C and a scheduler's stop reach a run even where a library swallows the exception that they raise."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ddselect.runtime import interruption
from ddselect.scoring.module import ScoringModule
from ddselect.student.views import Views
from tests.fault.runs import SMALL, run_here


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    interruption.listen()  # forgets what it was asked for here
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lost_interruption_is_raised_again(number: signal.Signals) -> None:
    interruption.listen()
    interruption.raise_if_interrupted()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt):
        interruption.raise_if_interrupted()
    interruption.listen()
    interruption.raise_if_interrupted()


def test_what_is_ignored_on_purpose_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interruption.listen()
    assert not interruption.is_heard(signal.SIGINT)
    assert interruption.is_heard(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    interruption.raise_if_interrupted()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("place", "name"), [(Views, "batch"), (ScoringModule, "predict_step")])
def test_a_run_ends_where_a_library_swallows_it(
    number: signal.Signals, place: type, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fsspec's ``exists`` does, which loggers call, and C code that looks for an attribute."""

    def swallows(*arguments: Any) -> Any:
        if not asked:
            asked.append(name)
            with suppress(BaseException):
                signal.raise_signal(number)
        return known(*arguments)

    asked: list[str] = []
    known = getattr(place, name)
    monkeypatch.setattr(place, name, swallows)
    line = run_here(tmp_path, *SMALL).assert_one_line(130)
    assert asked
    assert line.startswith("ddselect: interrupted; finished stages and shards are kept")
    assert not list(tmp_path.glob("outputs/*/results.json"))

"""The page of a sweep, made from what its jobs left."""

import re
from pathlib import Path

import pytest

from tests.fault.runs import run_here
from tests.sweep.made import entry, make_job, make_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multirun") / "sweep"
    make_sweep(folder)
    ended = run_here(folder.parent, "sweep-report", "sweep")
    assert ended.code == 0, ended.err
    return folder


@pytest.fixture(scope="module")
def page(sweep: Path) -> str:
    return (sweep / "report.html").read_text()


def test_it_is_one_file(page: str) -> None:
    assert not re.findall(r"(?:src|href)=\"(?!#|\d+/report\.html\")[^\"]*\"", page)
    assert "http" not in re.sub(r"xmlns(:\w+)?=\"[^\"]*\"", "", page)


def test_every_job_is_linked_and_failed_ones_are_told(sweep: Path, page: str) -> None:
    links = set(re.findall(r"href=\"(\d+/report\.html)\"", page))
    assert links == {f"{number}/report.html" for number in range(11)}
    assert all((sweep / link).exists() for link in links)
    failed = page[page.index('id="failed"') : page.index('id="jobs"')]
    assert "student: out of luck" in failed
    assert "python run.py ipc=10 selection=random_image" in failed


def test_tables_and_figures_can_be_read_aloud(page: str) -> None:
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    assert len(tables) >= 4
    assert all("<caption><span>" in table and 'scope="col"' in table and 'scope="row"' in table for table in tables)
    figures = re.findall(r"<svg [^>]*role=\"img\" aria-label=\"([^\"]+)\"", page)
    assert len(figures) == 1
    assert all("diffusion 61.0 at 1, 81.0 at 10; rded" in label and "all 95.5" in label for label in figures)


def test_figures_take_their_colours_from_the_page(page: str) -> None:
    assert "#fe0" not in page
    assert "#fd0000" not in page


def test_means_and_spreads_are_shown(page: str) -> None:
    row = re.search(r"<tr[^>]*>\s*<th scope=\"row\">.*?>diffusion<.*?</tr>", page, re.DOTALL)
    assert row is not None
    assert "61.0 ± 1.4" in row[0]


def test_stages_are_counted_once(page: str) -> None:
    row = re.search(r"<tr><th scope=\"row\">scoring</th>.*?</tr>", page)
    assert row is not None
    assert re.findall(r">([^<>]+)</td>", row[0]) == ["1", "11 times", "1 min 00 s"]


def test_names_are_escaped(tmp_path: Path) -> None:
    make_job(tmp_path / "s" / "0", ["prompt.templates=['<b>']"], [], "<script>alert(1)</script>")
    make_job(tmp_path / "s" / "1", ["prompt.templates=['a']"], [entry("diffusion", 1, 0, 60)])
    assert run_here(tmp_path, "sweep-report", "s").code == 0
    text = (tmp_path / "s" / "report.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_jobs_without_results_make_a_page_too(tmp_path: Path) -> None:
    make_job(tmp_path / "s" / "0", ["stages=[scoring]"], [], "backbone: no such file")
    ended = run_here(tmp_path, "sweep-report", "s")
    assert ended.messages == [
        "ddselect: job 0 failed: backbone: no such file; to repeat it: python run.py 'stages=[scoring]'"
    ]
    assert "no such file" in (tmp_path / "s" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "sweep-report: name the folder of one sweep"),
        (["a", "b"], "sweep-report: name the folder of one sweep"),
        (["nowhere"], "nowhere: no jobs of a sweep lie here"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    ended = run_here(tmp_path, "sweep-report", *words)
    assert ended.assert_one_line(2).startswith(f"ddselect: {message}")

"""What the jobs of a sweep found, pooled over seeds."""

from pathlib import Path
from statistics import stdev

import pytest

from ddselect.evaluation.objective import objective
from ddselect.sweep.charts import charts
from ddselect.sweep.job import read_jobs
from ddselect.sweep.pooling import Pooled, best_settings, pool
from tests.sweep.made import entry, make_job, make_sweep


def pooled(folder: Path) -> Pooled:
    return pool(read_jobs(folder))


def test_seeds_within_a_job_and_across_jobs_are_the_same(tmp_path: Path) -> None:
    runs = [entry("diffusion", 1, seed, 60 + seed) for seed in (0, 1, 2)]
    make_job(tmp_path / "one" / "0", ["ipc=1", "seeds=[0,1,2]"], runs)
    for run in runs:
        make_job(tmp_path / "many" / str(run["seed"]), ["ipc=1", f"seeds=[{run['seed']}]"], [run])
    (one,), (many,) = (pooled(tmp_path / name).settings for name in ("one", "many"))
    assert one.top1 == many.top1 == [60, 61, 62]
    assert one.labels == many.labels
    assert (many.mean, many.std, many.jobs) == (61, stdev([60, 61, 62]), ["0", "1", "2"])


def test_what_several_jobs_have_counts_once(tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep")
    found = pooled(tmp_path / "sweep")
    assert found.columns == ["selection", "ipc"]
    assert found.constant == ["compare=[all]"]
    assert [(s.selection, s.labels.get("ipc"), len(s.entries)) for s in found.settings] == [
        ("diffusion", "1", 2),
        ("rded", "1", 2),
        ("random_image", "1", 2),
        ("diffusion", "10", 2),
        ("rded", "10", 2),
        ("random_image", "10", 1),  # its other job failed
        ("all", None, 2),
    ]
    assert found.settings[-1].is_reference
    assert found.settings[-1].top1 == [95, 96]


def test_best_where_all_else_is_the_same(tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep")
    first, second = best_settings(pooled(tmp_path / "sweep"))
    assert (first.place, first.first.selection, first.first.mean) == ("IPC 1", "diffusion", 61)
    assert (second.place, second.second and second.second.selection) == ("IPC 10", "rded")
    assert second.reference is not None
    assert second.reference.mean == 95.5


def test_a_key_that_makes_no_difference_to_a_rival_does_not_split_it(tmp_path: Path) -> None:
    for number, draws in enumerate((1, 3, 10)):
        chosen = entry("diffusion", 10, 0, 70 + draws, fingerprints={"student": f"d{draws}"})
        rival = entry("rded", 10, 0, 65, fingerprints={"student": "r"})
        make_job(tmp_path / str(number), [f"scoring.draws={draws}", "compare=[rded]"], [chosen, rival])
    found = pooled(tmp_path)
    assert found.columns == ["selection", "scoring.draws"]
    assert [(s.selection, s.labels.get("scoring.draws")) for s in found.settings] == [
        ("diffusion", "1"),
        ("diffusion", "3"),
        ("diffusion", "10"),
        ("rded", None),
    ]
    assert [best.second and best.second.selection for best in best_settings(found)] == ["rded"] * 3
    (chart,) = charts(found)
    assert (chart.axis, chart.places) == ("scoring.draws", [1, 3, 10])
    assert {line.name: line.level is not None for line in chart.lines} == {"diffusion": False, "rded": True}


def test_a_key_that_makes_a_difference_to_one_seed_is_kept(tmp_path: Path) -> None:
    """The same student under two values, and at another seed two students: nothing may be thrown together."""
    for number, (draws, seed, student) in enumerate(((1, 0, "a"), (3, 0, "a"), (1, 1, "b"), (3, 1, "c"))):
        run = entry("diffusion", 10, seed, 70, fingerprints={"student": student})
        make_job(tmp_path / str(number), [f"scoring.draws={draws}", f"seeds=[{seed}]"], [run])
    found = pooled(tmp_path)
    assert [(s.labels["scoring.draws"], len(s.entries)) for s in found.settings] == [("1", 2), ("3", 2)]


def test_variants_of_a_selection_are_lines_and_students_charts(tmp_path: Path) -> None:
    number = 0
    for student in ("small_resnet16", "convnet3"):
        for whole in (0, 1):
            for ipc in (1, 10):
                name = f"{student} {whole} {ipc}"
                run = entry("diffusion", ipc, 0, 60 + ipc, student=student, fingerprints={"student": name})
                words = [f"student={student}", f"composition.whole={whole}", f"ipc={ipc}"]
                make_job(tmp_path / str(number), words, [run])
                number += 1
    found = charts(pooled(tmp_path))
    assert [chart.title for chart in found] == ["student=small_resnet16", "student=convnet3"]
    assert [line.name for line in found[0].lines] == ["diffusion whole=0", "diffusion whole=1"]
    assert [place for place, _ in found[0].lines[0].points] == [1, 10]


def test_jobs_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 0):
        make_job(tmp_path / str(number), ["ipc=1"], [entry("diffusion", 1, number, 60)])
    (tmp_path / "11" / ".hydra").mkdir(parents=True)
    (tmp_path / "11" / ".hydra" / "overrides.yaml").write_text("- ipc=1\n")  # killed before it could say anything
    jobs = read_jobs(tmp_path)
    assert [job.name for job in jobs] == ["0", "9", "10", "11"]
    assert [bool(job.error) for job in jobs] == [False, False, False, True]
    assert jobs[-1].command == "python run.py ipc=1"


@pytest.mark.parametrize(("name", "value"), [("top1_last", 61), ("top1_best", 62), ("top5_last", 99.0)])
def test_the_objective_is_that_of_the_chosen_selection(name: str, value: float) -> None:
    entries = [entry("diffusion", 1, seed, 60 + seed) for seed in (0, 2)] + [entry("rded", 1, 0, 90)]
    assert objective({"results": entries, "config": {"objective": name}}) == value

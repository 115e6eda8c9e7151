"""The report of a run made up by hand: what it says, what it shows, and that it is one safe file."""

import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddselect.protocol.recipe import Protocol
from ddselect.report.comparison import compare
from ddselect.report.figures import read_curves
from ddselect.report.html import write_report
from ddselect.report.images import Trouble, image_trouble
from ddselect.report.maps import build_maps, pick
from ddselect.report.palette import looks
from ddselect.report.pictures import inline_file, shown_classes
from ddselect.report.settings import Report
from ddselect.report.stages import stage_lines, stage_sums
from ddselect.report.table import print_table
from ddselect.report.units import duration, size
from ddselect.runtime.files import write_json
from ddselect.runtime.store import Done
from ddselect.student.settings import Student
from tests.helpers.data import folder_index, write_folder
from tests.helpers.report import ARMS, IPC, NAMES, Page, Run, write_scores


@pytest.fixture(autouse=True)
def _figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time: only tests that look at the curves do it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("ddselect.report.html.draw_curves", lambda *_, **__: "")


@pytest.fixture
def drawn() -> None:
    """Asks for the curves."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    index = folder_index(write_folder(tmp_path / "data"), tmp_path / "index").split("train")
    return Run(tmp_path, dataclasses.replace(index, class_names=NAMES))


def test_table_has_means_and_spreads(run: Run) -> None:
    page = run.page()
    assert page.row("diffusion")[1][1:] == ["50% 2 x 2 crops, 50% whole", "6", "2", "62.0 ± 2.8", "65.2", "97.5"]
    assert page.row("random_crop")[1][1:] == ["2 x 2 crops", "6", "2", "50.5 ± 0.7", "53.8", "97.5"]
    assert page.row("all")[1][1:] == ["whole images", "12", "2", "90.5 ± 0.7", "93.8", "97.5"]
    assert "sample standard deviation over 2 seeds" in page.source
    assert "One seed" not in page.source
    dots = [dot.attributes["title"] for dot in page.all("div", "dot")]
    assert dots[:3] == ["seed 0: 60.0 %", "seed 1: 64.0 %", "seed 0: 50.0 %"]


def test_skipped_and_doubled_images_are_told(run: Run) -> None:
    assert "unreadable" not in run.page().source
    files = [{"path": f"train/<b>/{i}.jpg", "error": "the file is empty"} for i in range(60)]
    write_json(run.root / "index" / "unreadable.json", {"files": files})
    page = run.page()
    assert "60 unreadable images were skipped, the first 50" in page.source
    assert "train/&lt;b&gt;/49.jpg</code>: the file is empty" in page.source
    assert "50.jpg" not in page.source
    text = "1 image is in more than one class (same content), such as a.jpg and b.jpg"
    manifest = {"facts": {"duplicates": {"classes": {"images": 1, "example": ["a.jpg", "b.jpg"], "text": text}}}}
    assert image_trouble(Done("index", "x", run.root / "elsewhere", manifest, False)) == Trouble([text], 0, [])


def test_one_seed_has_no_spread(run: Run) -> None:
    run.seeds = (0,)
    page = run.page()
    assert page.row("diffusion")[1][3:5] == ["1", "60.0"]
    assert "One seed: no spread, differences of a few points may be chance" in page.source
    assert "standard error of up to 2.5 points" in page.source  # 100 sqrt(0.25 / 400)
    assert "±" not in page.source
    assert not page.all("div", "spread")


def test_quality_of_the_distilled_sets(run: Run) -> None:
    page = run.page()
    start = next(i for i, element in enumerate(page.elements) if element.attributes.get("id") == "quality")
    cells = [element.text for element in page.elements[start:] if element.tag in ("th", "td")]
    assert cells[:15] == [
        *("selection", "coverage", "density", "diversity", "teacher loss"),  # what no set has is left out
        *("diffusion", "0.125", "1.50", "0.75", "0.500"),
        *("random_crop", "0.125", "1.50", "0.75", "0.500"),
    ]
    assert "True box covered" not in page.source


def test_reference_is_apart_and_cannot_win(run: Run) -> None:
    page = run.page()
    assert "reference" in page.row("all")[0].inside
    assert "reference" not in page.row("diffusion")[0].inside
    assert [row.text.split()[0] for row in page.all("tr", "highest")] == ["diffusion"]
    assert [bar.text.split()[0] for bar in page.all("div", "bar")][:3] == ["diffusion", "random_crop", "all"]
    assert len(page.all("div", "reference")) == 1


def test_alone_nothing_is_highest(run: Run) -> None:
    entries = [entry for entry in run.entries() if entry["selection"] in ("diffusion", "all")]
    compared = compare(entries, 3)
    assert [line.highest for line in compared.lines] == [False, False]
    assert compared.contender is None
    assert compared.chance == pytest.approx(100 / 3)


def test_full_data_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.helpers.report.ARMS", {"all": ARMS["all"]})
    page = run.page()
    assert "not distilled: the full data" in page.all("h1")[0].text
    assert not page.all("img")


def test_axis_has_room_for_all(run: Run) -> None:
    entries = [{**entry, "top1_last": entry["top1_last"] / 4} for entry in run.entries()]
    assert (compare(entries, 10).top, compare(entries, 10).ticks) == (30, [0, 5, 10, 15, 20, 25, 30])
    assert compare(entries, 2).top == 60  # chance, 50 %, is on it too
    assert compare(run.entries(), 10).top == 100


def test_one_picture_for_each_distilled_image(run: Run) -> None:
    pictures = run.page().all("img", "distilled")
    assert len(pictures) == 2 * len(NAMES) * IPC  # of one seed, and none of `all`
    assert [picture.attributes["alt"] for picture in pictures[:3]] == ["ant, image 1", "ant, image 2", "<b>x, image 1"]
    data = base64.b64decode(pictures[3].attributes["src"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (80, 60, 0)
    title = pictures[3].attributes["title"]
    assert title.splitlines()[1] == "row 1, column 2: train/1-1.png [1, 2, 9, 10], rank 2, score 0.125, cluster 3"
    fewer = run.page(settings=Report(images_per_class=1))
    assert len(fewer.all("img", "distilled")) == 2 * len(NAMES)
    assert "the first 1 of 2 per class" in fewer.source


@pytest.mark.usefixtures("drawn")
def test_page_is_one_safe_file(run: Run) -> None:
    page = run.page(write_scores(run))
    assert "http:" not in page.source
    assert "https:" not in page.source
    assert not page.all("link")
    assert not any(script.attributes for script in page.all("script"))  # none comes from elsewhere
    assert "alert(1)" not in "".join(script.text for script in page.all("script"))
    links = [e.attributes[k] for e in page.elements for k in ("src", "href", "xlink:href") if k in e.attributes]
    assert links
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert not page.open  # every element is closed
    assert not page.all("b")
    assert "&lt;b&gt;x" in page.source
    assert "</pre><script>alert(1)</script>" in page.all("pre")[0].text


def test_summary_and_environment(run: Run) -> None:
    page = run.page()
    text = " ".join(page.all("header")[0].text.split())
    assert text.startswith("animals distilled to 2 images per class Students (net) were trained from scratch")
    assert "chosen by diffusion and random_crop (and on the full data, for reference), under the protocol quick" in text
    assert "with seeds 0, 1; the teacher (wise) has 95.0 % top-1 on the 400 test images." in text
    assert "python run.py ipc=2 'seeds=[0,1]'" in page.all("main")[0].text


def test_what_the_protocol_is_not_stands_in_the_head(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(run.page().all("header")[0].text.split())
    changed = "protocol.epochs=<i>1</i> (quick: 3), protocol.loss=[kl] (quick: mse)"
    assert f"Not the protocol quick as it stands: {changed}." in text
    results = run.results()
    print_table(results)
    assert f"not the protocol quick as it stands: {changed}" in " ".join(capsys.readouterr().out.split())
    results["deviations"] = {"quick": []}
    write_report(Report(), results, run.trained(), run.index, None, run.root / "report.html")
    assert "as it stands" not in (run.root / "report.html").read_text()
    print_table(results)
    assert "as it stands" not in capsys.readouterr().out


def test_maps_show_high_ordinary_and_low(run: Run) -> None:
    maps = build_maps(run.index, write_scores(run).folder, 16, 3)
    assert maps is not None
    assert [name for name, _ in maps.rows] == NAMES
    cows = maps.rows[2][1]  # rows 8 to 11
    assert [(e.place, e.score) for e in cows] == [("highest", 11.0), ("median", 10.0), ("lowest", 8.0)]
    assert cows[0].path == run.index.ids[11]
    assert cows[0].boxes == [pytest.approx((0, 0, 0.5, 0.5), abs=0.05)]
    assert maps.has_truth
    x0 = (40 - 28) // 2  # row 10 is 40 x 28 pixels: its view starts at x = 6
    assert run.index.sizes_at(10) == (40, 28)
    assert cows[1].truth == pytest.approx(((4 - x0) / 28, 4 / 28, 8 / 28, 16 / 28))
    assert maps.scale == 12.0  # row 11 fills more than 1 % of the positions
    data = base64.b64decode(cows[0].heat.partition(",")[2])
    heat = Image.open(io.BytesIO(data))
    assert heat.size == (4, 4)
    red, _, blue = heat.getpixel((0, 0))  # type: ignore[misc]
    low_red, _, low_blue = heat.getpixel((3, 3))  # type: ignore[misc]
    assert red > 2 * blue
    assert low_blue > 2 * low_red


def test_maps_on_the_page(run: Run) -> None:
    found = {"images": 12, "pointing_game": 41.27, "pointing_game_chance": 15.5}
    found |= {"coverage": 0.6543, "coverage_chance": 0.4}
    page = run.page(write_scores(run), Report(maps_per_class=2), localisation=found)
    trios = [e for e in page.all("rect") if "trio" in e.inside]
    assert sum(e.attributes["class"] == "box" for e in trios) == 2 * len(NAMES)
    assert sum(e.attributes["class"] == "truth" for e in trios) == 2 * len(NAMES)
    assert page.row("pointing")[1][1:] == ["41.3 %", "15.5 %"]
    assert page.row("share")[1][1:] == ["65.4 %", "40.0 %"]
    assert "backbone tiny with the prompt mode label" in " ".join(page.all("header")[0].text.split())


def test_without_truth_maps_or_scores(run: Run) -> None:
    page = run.page(write_scores(run, truth=False), Report(maps_per_class=1))
    assert not page.all("rect", "truth")
    assert len(page.all("img", "heat")) == len(NAMES)
    assert "median" in page.all("figcaption")[0].text
    assert not run.page(write_scores(run, truth=False), Report(maps_per_class=0)).all("img", "heat")
    assert "none were made" in run.page().source


def test_what_the_prior_was_told(run: Run) -> None:
    lines = [
        {"folder": "n1", "class": "ant", "positive": "a photo of an <i>ant</i>", "reference": "a photo"},
        {"folder": "n2", "class": "<b>x", "positive": "(empty prompt)", "reference": ""},
    ]
    results, path = run.results(), run.root / "report.html"
    write_report(Report(maps_per_class=0), results, run.trained(), run.index, write_scores(run), path, lines)
    page = Page(path.read_text())
    assert page.row("ant")[1] == ["ant", "n1", "a photo of an <i>ant</i>", "a photo"]
    assert page.row("<b>x")[1] == ["<b>x", "n2", "(empty prompt)", "none: the loss itself"]
    assert "<i>ant" not in page.source
    assert "What the prior was told about each class (2)" in page.source
    assert "What the prior was told" not in run.page(write_scores(run)).source


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("label", "being told the class lowers"),
        ("text", "the prompt lowers the prior's loss at each position, against the reference prompt"),
        ("none", "the prior's unconditional loss at each position, less its mean"),
    ],
)
def test_maps_are_explained_for_each_prompt_mode(run: Run, mode: str, words: str) -> None:
    results, path = run.results(), run.root / "report.html"
    results["results"] = [{**entry, "prompt": mode} for entry in results["results"]]
    write_report(Report(), results, run.trained(), run.index, write_scores(run), path)
    source = path.read_text()
    assert f"with the prompt mode <code>{mode}</code>" in source
    assert words in source
    assert ("(25 %) and how much it changes the prediction at all (75 %)" in source) == (mode != "none")


@pytest.mark.parametrize(
    ("count", "places"), [(1, [(2, 0.5)]), (2, [(4, 1.0), (2, 0.5)]), (3, [(4, 1.0), (2, 0.5), (0, 0.0)])]
)
def test_pick(count: int, places: list[tuple[int, float]]) -> None:
    assert pick(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), count) == places


def test_pick_takes_no_image_twice() -> None:
    assert [place for place, _ in pick(np.array([3.0, 1.0]), 5)] == [0, 1]


@pytest.mark.usefixtures("drawn")
def test_curves_are_means_over_seeds(run: Run) -> None:
    trained = run.trained()
    look = looks(list(ARMS), {"all"})
    curve = read_curves(trained, look)[0]
    assert curve.steps.tolist() == [10, 20]
    assert curve.values["top1"].tolist() == [[30, 60], [32, 64]]
    source = run.page().source
    assert "#fe0" not in source  # the stand-ins that matplotlib drew with
    assert "#fd0" not in source
    assert all(f"stroke: {look[name].colour}" in source for name in ARMS)


def test_looks_differ() -> None:
    names = [f"selection {i}" for i in range(30)]
    found = looks([*names, "all"], {"all"})
    assert len({(look.colour, look.dash) for look in found.values()}) == 31
    assert found["all"].colour == "var(--reference)"


def test_a_stage_that_one_selection_alone_has_stands_where_it_is_passed(run: Run) -> None:
    first, other = run.trained()[0], run.trained()[-1]
    losses = dataclasses.replace(first.stages["index"], name="losses", fingerprint="l")
    stages = {"index": other.stages["index"], "losses": losses, **other.stages}
    lines = stage_lines([first, dataclasses.replace(other, stages=stages)])
    assert list(dict.fromkeys(line.done.name for line in lines)) == ["index", "losses", "composition", "student"]


def test_stages_are_counted_once(run: Run) -> None:
    lines = stage_lines(run.trained())
    assert [(line.done.name, line.users) for line in lines[:2]] == [
        ("index", "every student"),
        ("composition", "diffusion, seed 0"),
    ]
    sums = {s.name: (s.count, s.reused, s.seconds, s.bytes, s.peak_bytes, s.gpu_peak_bytes) for s in stage_sums(lines)}
    assert sums == {
        "index": (1, 1, 5, 1500, 5 * 10**9, None),
        "composition": (6, 0, 6, 9000, 10**9, None),
        "student": (6, 0, 420, 9000, 70 * 10**9, None),
    }
    page = run.page()
    assert page.row("index")[1] == ["index", "", "1", "5.0 s", "1.5 kB", "5.0 GB"]
    assert page.row("student")[1] == ["student", "6", "", "7 min 00 s", "9.0 kB", "70 GB"]
    assert "peak on the GPU" not in page.source
    assert "s-random_crop-1" in page.source


def test_several_students_have_a_table_of_their_own(run: Run) -> None:
    results, trained = run.results(), run.trained()
    others = [{**entry, "student": "vit", "top1_last": entry["top1_last"] - 5} for entry in results["results"]]
    results["results"] += others
    trained += [branch.training_by(branch.protocol, Student("vit", "vit_tiny")) for branch in trained]
    write_report(Report(), results, trained, run.index, None, run.root / "report.html")
    page = Page((run.root / "report.html").read_text())
    assert page.row("diffusion")[1][3:5] == ["2", "62.0 ± 2.8"]  # the comparison is that of the chosen student
    assert (
        '<th scope="row">diffusion</th><td class="number">62.0 ± 2.8</td><td class="number">57.0 ± 2.8</td>'
        in page.source
    )
    assert "with every student" not in run.page().source
    assert stage_lines(trained)[1].users == "diffusion, seed 0"


def test_several_protocols_have_columns_and_lines_of_their_own(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    results, trained = run.results(), run.trained()
    results["results"] += [{**e, "protocol": "hard", "top1_last": e["top1_last"] - 5} for e in results["results"]]
    results["deviations"]["hard"] = ["protocol.flip=false (hard: true)"]
    trained += [branch.training_by(Protocol("hard", steps=1), branch.student) for branch in trained]
    write_report(Report(), results, trained, run.index, None, run.root / "report.html")
    page = Page((run.root / "report.html").read_text())
    assert page.row("diffusion")[1][3:5] == ["2", "62.0 ± 2.8"]  # the comparison is that of the chosen protocol
    assert '<td class="number">62.0 ± 2.8</td><td class="number">57.0 ± 2.8</td>' in page.source
    assert "The same distilled sets under every protocol: top-1" in page.source
    assert "hard: true" not in page.source
    assert stage_lines(trained)[-1].users == "all, seed 1, quick; all, seed 1, hard"
    print_table(results)
    out = capsys.readouterr().out
    assert [word for line in out.splitlines() if "│ diffusion" in line for word in line.split()[3:4]] == [
        "quick",
        "hard",
    ]
    assert "not the protocol hard as it stands: protocol.flip=false (hard: true)" in " ".join(out.split())


def test_dd_ranking_has_a_table_of_its_own(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    results = run.results()
    row = {"selection": "diffusion", "protocol": "quick", "student": "net", "seeds": 2}
    row |= {"images": 6, "random_images": 6, "real_images": 12}
    scores = {"hlr": (0.25, 0.5), "ior": (-0.125, 0.0625), "lrs": (0.5, 0.001), "ars": (0.75, None)}
    for name, (value, spread) in scores.items():
        row |= {name: value, f"{name}_std": spread}
    results["dd_ranking"] = {"scores": [row], "students": []}
    write_report(Report(), results, run.trained(), run.index, None, run.root / "report.html")
    numbers = ["0.250 ± 0.500", "-0.125 ± 0.062", "0.500 ± 0.001", "0.750"]
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    source = (run.root / "report.html").read_text()
    assert f'<td class="number">6</td>{cells}' in source
    assert "against all 12 real images" in source
    print_table(results)
    out = " ".join(capsys.readouterr().out.split())
    assert "6 images against 6 random ones and all 12" in out
    assert " │ ".join(["diffusion", *numbers]) in out.replace("  ", " ")
    assert "DD-Ranking" not in run.page().source


def test_large_images_become_thumbnails(tmp_path: Path) -> None:
    Image.new("RGB", (224, 224), (200, 10, 10)).save(tmp_path / "large.png")
    kind, _, data = inline_file(tmp_path / "large.png").partition(";base64,")
    assert kind == "data:image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (160, 160)


def test_many_classes_are_sampled() -> None:
    assert shown_classes(10) == list(range(10))
    assert len(set(shown_classes(1000))) == 20
    assert max(shown_classes(1000)) < 1000


def test_units() -> None:
    assert [duration(s) for s in (0.067, 8.079, 59.94, 59.96, 200, 7500)] == [
        "0.07 s", "8.1 s", "59.9 s", "1 min 00 s", "3 min 20 s", "2 h 05 min"
    ]  # fmt: skip
    assert [size(n) for n in (12, 1500, 166742, 999_600, 2_500_000_000)] == [
        "12 B",
        "1.5 kB",
        "167 kB",
        "1.0 MB",
        "2.5 GB",
    ]

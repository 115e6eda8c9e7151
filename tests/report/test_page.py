"""The report of a run made up by hand: what it says, what it shows, and that it is one safe file."""

import base64
import dataclasses
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddselect.protocol.recipe import ProtocolConfig
from ddselect.report.caveats import Caveat, caveats
from ddselect.report.comparison import compare, extremes, per_class
from ddselect.report.distilled import distilled_sets
from ddselect.report.examples import Examples, heat_layer
from ddselect.report.figures import read_curves
from ddselect.report.html import write_report
from ddselect.report.pictures import details, sheet, thumbnail
from ddselect.report.settings import ReportConfig
from ddselect.report.stages import stage_lines
from ddselect.report.svg import looks
from ddselect.report.table import print_table
from ddselect.report.units import duration, size
from ddselect.runtime.files import write_json
from ddselect.student.settings import StudentConfig
from tests.helpers.data import folder_index, write_folder
from tests.helpers.report import ARMS, NAMES, Page, Run, done, with_classes, write_accuracies, write_scores


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
    inline = re.findall(r"url\(([^)]*)\)", page.source)
    assert inline
    assert all(link.startswith(("data:image/", "#")) for link in inline)
    assert not page.open  # every element is closed
    assert not page.all("b")
    assert "&lt;b&gt;x" in page.source
    assert "</pre><script>alert(1)</script>" in page.all("pre")[1].text


def test_summary_and_environment(run: Run) -> None:
    page = run.page()
    text = " ".join(page.all("header")[0].text.split())
    assert text.startswith("animals distilled to 2 images per class Students (net) were trained from scratch")
    assert "chosen by diffusion and random_crop (and on the full data, for reference), under the protocol quick" in text
    assert "with seeds 0, 1; the teacher (wise) has 95.0 % top-1 on the 400 test images." in text
    assert "python run.py ipc=2 'seeds=[0,1]'" in page.all("main")[0].text


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
    write_report(ReportConfig(), results, run.trained(), run.index, write_scores(run), path)
    source = path.read_text()
    assert f"with the prompt mode <code>{mode}</code>" in source
    assert words in source
    assert ("(25 %) and how much it changes the prediction at all (75 %)" in source) == (mode != "none")


@pytest.fixture
def chosen(run: Run) -> Examples:
    """Examples of the first selection of a run whose images are scored."""
    return Examples(run.index, write_scores(run), 0.75, distilled_sets(run.trained())[0], 16, 4)


def pixels(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


def test_examples_are_what_was_selected_and_what_is_ordinary(run: Run, chosen: Examples) -> None:
    cows = chosen.of(2, details(10, 4)[0])  # rows 8 to 11
    assert [(e.why, e.path) for e in cows] == [
        ("first crop", run.index.ids[8]),
        ("first whole image", run.index.ids[9]),
        ("median of the class", run.index.ids[9]),
        ("lowest of the class", run.index.ids[8]),
    ]
    assert [e.facts for e in cows] == [
        "crop score 0.12, centre or cluster 3",
        "image score 0.12, centre or cluster 3",
        "image score 9",
        "image score 8",
    ]
    assert len(chosen.of(2, details(10, 1)[0])) == 1


def test_the_patch_is_cut_from_its_distilled_image(run: Run) -> None:
    distilled = run.root / "composition" / "diffusion-0" / "distilled"
    trained = run.trained()
    both = Image.new("RGB", (16, 16), (250, 0, 0))
    both.paste((0, 0, 250), (8, 0, 16, 8))  # the crop's cell: row 1, column 2
    both.save(distilled / "0" / "00000.png")
    crop, whole, *others = Examples(run.index, write_scores(run), 0.75, distilled_sets(trained)[0], 16, 4).of(
        0, details(10, 4)[0]
    )
    assert crop.patch
    assert whole.patch
    assert pixels(crop.patch).convert("RGB").getcolors() == [(64, (0, 0, 250))]
    assert pixels(whole.patch).size == (16, 16)
    assert [other.patch for other in others] == [None, None]


def test_crops_of_mixed_classes_are_told_by_their_own(run: Run) -> None:
    trained, path = run.trained(), run.root / "composition" / "diffusion-0" / "distilled" / "metadata.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:  # the crop in a class's folder is one of the class after it
        (patch,) = entry["patches"]
        own = (entry["label"] + (patch["kind"] == "crop")) % 3
        patch |= {"label": own, "class": run.index.class_names[own]}
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    found = distilled_sets(trained)[0]
    for label in range(3):
        (holder, crop), (_, whole) = found.first_patches(label)
        assert (holder["label"], crop["label"], whole["label"]) == ((label - 1) % 3, label, label)
    path = run.root / "report.html"
    write_report(ReportConfig(), run.results(), trained, run.index, None, path)
    page = Page(path.read_text())
    at = next(at for at, e in enumerate(page.elements) if e.tag == "caption")
    cells = [e.text for e in page.elements[at:] if e.tag == "td"]
    assert cells[1:9:7] == [f"row 1, column 2 (class {run.index.class_names[1]})", "whole"]


def test_boxes_are_shares_of_the_view(run: Run, chosen: Examples) -> None:
    cows = chosen.of(2, details(10, 4)[0])
    assert run.index.sizes_at(8) == (25, 36)  # its view starts at y = 5
    assert cows[0].box == pytest.approx((1 / 25, (2 - 5) / 25, 8 / 25, 8 / 25), abs=1e-4)
    assert cows[0].truth == pytest.approx((4 / 25, (4 - 5) / 25, 8 / 25, 16 / 25), abs=1e-4)
    assert cows[3].box == pytest.approx((0, 0, 0.5, 0.5), abs=0.05)  # the best one


def test_heat_is_red_above_and_blue_below(chosen: Examples) -> None:
    heat = chosen.of(2, details(10, 4)[0])[0].heat
    assert heat
    picture = pixels(heat)
    assert picture.size == (4, 4)
    red, _, blue, opacity = picture.getpixel((0, 0))  # type: ignore[misc]
    low_red, _, low_blue, low_opacity = picture.getpixel((3, 3))  # type: ignore[misc]
    assert red > 2 * blue
    assert low_blue > 2 * low_red
    assert opacity == low_opacity > 100
    assert heat_layer(np.array([[0.0, 1.0, 7.0]]))[0, :, 3].tolist() == [0, 217, 217]  # 0.85 x 255


def test_examples_on_the_page(run: Run) -> None:
    found = {"images": 12, "pointing_game": 41.27, "pointing_game_chance": 15.5}
    found |= {"coverage": 0.6543, "coverage_chance": 0.4}
    page = run.page(write_scores(run), ReportConfig(maps_per_class=3), localisation=found)
    assert len(page.all("div", "source")) == len(page.all("div", "map")) == 3 * len(NAMES)
    assert len(page.all("img", "patch")) == 2 * len(NAMES)
    inside = [e.attributes["class"] for e in page.all("i") if "tile" in e.inside]
    assert inside.count("box") == inside.count("truth") == 2 * 3 * len(NAMES)
    assert page.row("pointing")[1][1:] == ["41.3 %", "15.5 %"]
    assert page.row("share")[1][1:] == ["65.4 %", "40.0 %"]
    assert "backbone tiny with the prompt mode label" in " ".join(page.all("header")[0].text.split())


def test_without_truth_maps_or_scores(run: Run) -> None:
    page = run.page(write_scores(run, truth=False), ReportConfig(maps_per_class=1))
    assert not page.all("i", "truth")
    assert len(page.all("div", "map")) == len(NAMES)
    assert not run.page(write_scores(run, truth=False), ReportConfig(maps_per_class=0)).all("div", "tile")
    page = run.page()
    assert "none were made" in page.source
    assert len(page.all("div", "source")) == 2 * len(NAMES)  # what was selected is shown without a map
    assert not page.all("div", "map")


def test_a_sheet_of_distilled_images_for_each_class(run: Run) -> None:
    page = run.page()
    sheets = page.all("img", "distilled")
    assert len(sheets) == 2 * len(NAMES)  # of one seed, and none of `all`
    assert [s.attributes["alt"] for s in sheets[:3]] == [
        "diffusion: 2 distilled images of ant",
        "random_crop: 2 distilled images of ant",
        "diffusion: 2 distilled images of <b>x",
    ]
    picture = pixels(sheets[2].attributes["src"])
    assert picture.size == (33, 16)  # with a gap
    assert [picture.convert("RGBA").getpixel((x, 0)) for x in (0, 15, 16, 17)] == [
        *[(80, 0, 0, 255)] * 2, (0, 0, 0, 0), (80, 60, 0, 255)
    ]  # fmt: skip
    assert "1 crop and 1 whole image of 2 training images, of 2 centres or clusters" in page.source
    fewer = run.page(settings=ReportConfig(images_per_class=1))
    assert pixels(fewer.all("img", "distilled")[0].attributes["src"]).size == (16, 16)
    assert "the first 1 of 2 per class" in fewer.source


def test_where_each_patch_comes_from(run: Run) -> None:
    page = run.page()
    rows = [e for e in page.all("tr") if run.index.ids[5] in e.text and "whole" in e.text]
    assert len(rows) == 2  # of two selections
    at = page.elements.index(rows[0])
    assert [e.text for e in page.elements[at + 1 :] if e.tag == "td"][:7] == [
        "2", "whole", run.index.ids[5], "1, 2, 9, 10", "1", "0.125", "3"
    ]  # fmt: skip


def test_sheets_have_lines_of_ten() -> None:
    small = [Image.new("RGB", (32, 32), (i, 0, 0)) for i in range(23)]
    assert sheet(small).size == (10 * 34 - 2, 3 * 34 - 2)
    assert sheet(small).getpixel((2 * 34, 34)) == (12, 0, 0, 255)
    assert thumbnail(Image.new("RGB", (224, 224)), 160).size == (160, 160)
    assert thumbnail(Image.new("RGB", (32, 32)), 160).size == (32, 32)


def test_what_the_prior_was_told(run: Run) -> None:
    lines = [
        {"folder": f"n{i}", "class": name, "positive": f"a photo of an <i>{name}</i>", "reference": "a photo"}
        for i, name in enumerate(NAMES)
    ]
    page = run.page(write_scores(run), prompts=lines)
    told = [p.text for p in page.all("p", "told")]
    assert told == [f"told: a photo of an <i>{name}</i>" for name in NAMES]
    assert "with: a photo." in page.source
    assert ">told: " not in run.page(write_scores(run)).source


def test_accuracy_of_each_class(run: Run) -> None:
    run.per_class = {"diffusion": [90.0, 12.5, None], "random_crop": [80.0, 20.0, 1.0]}
    page = run.page()
    cards = [e.attributes for e in page.all("article")]
    assert [(c.get("data-accuracy"), c.get("data-gain")) for c in cards] == [
        ("90.000", "10.000"), ("12.500", "-7.500"), (None, None)
    ]  # fmt: skip
    lists = page.all("ol")
    assert [" ".join(e.text.split()) for e in lists] == ["<b>x 12.5 %", "ant 90.0 %"]


def test_accuracy_of_a_class_is_the_mean_over_seeds(run: Run) -> None:
    run.per_class = {"diffusion": [50.0, None, 10.0]}
    trained = run.trained()
    write_accuracies(trained[1].training.folder, [70.0, None, 20.0])
    assert per_class(trained, 3)["diffusion"] == [60.0, None, 15.0]


@pytest.mark.parametrize(
    ("values", "worst", "best"),
    [([3.0, 1.0, 2.0], [1], [0]), ([1.0, None, 0.0], [2], [0]), ([*range(20)], [0, 1, 2, 3, 4], [19, 18, 17, 16, 15])],
)
def test_no_class_is_among_the_worst_and_the_best(
    values: list[float | None], worst: list[int], best: list[int]
) -> None:
    found = extremes(values)
    assert {end: [label for label, _ in classes] for end, classes in found.items()} == {"worst": worst, "best": best}
    assert extremes([1.0, None]) == extremes(None) == {}


def test_warnings_are_gathered(run: Run) -> None:
    files = [{"path": f"train/<b>/{i}.jpg", "error": "the file is empty"} for i in range(60)]
    trained = run.trained()
    index = trained[0].stages["index"]
    write_json(index.folder / "unreadable.json", {"files": files})
    text = "1 image is in more than one class (same content), such as a.jpg and b.jpg"
    index.manifest["facts"]["duplicates"] = {"classes": {"images": 1, "text": text}}
    scoring = done("scoring", run.root / "s", "5c0re")
    scoring.manifest["facts"]["images_left_out"] = 7
    trained[0].stages["scoring"] = scoring
    prompt = done("prompt", run.root / "p", "9907")
    prompt.manifest["facts"]["shortened"] = ["a <very> long prompt"]
    trained[0].stages["prompt"] = prompt
    short = {"short_classes": 2, "moved_boxes": 5, "repeated_boxes": 1}
    trained[1].stages["composition"].manifest["facts"].update(short)
    results = run.results()
    results["environment"]["modified"] = True
    found = caveats(trained, results)
    assert [(caveat.about, caveat.text) for caveat in found] == [
        ("images", text),
        ("images", "60 unreadable images were skipped, the first 50"),
        ("prompt", "Prompts were too long for the prior, which saw only their beginnings"),
        ("scoring", "7 images were not scored (scoring.cap), so never selected"),
        (
            "composition",
            "diffusion, seed 1: 2 classes have too few candidates, so 5 patches are other boxes of the same images, "
            "1 are boxes used before",
        ),
        ("protocol", "Not the protocol quick as it stands"),
        ("code", "The code had changes that are not committed, so the commit below is not all of it"),
    ]
    assert found[1].items[49] == "train/<b>/49.jpg: the file is empty"
    write_report(ReportConfig(), results, trained, run.index, None, run.root / "report.html")
    page = Page((run.root / "report.html").read_text())
    assert "train/&lt;b&gt;/49.jpg: the file is empty" in page.source
    assert "50.jpg" not in page.source
    assert "7 warnings: images, prompt, scoring, composition, protocol, code." in " ".join(
        page.all("header")[0].text.split()
    )


def test_what_the_protocol_is_not_is_a_warning(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    changed = ["protocol.epochs=<i>1</i> (quick: 3)", "protocol.loss=[kl] (quick: mse)"]
    results = run.results()
    assert caveats(run.trained(), results) == [Caveat("protocol", "Not the protocol quick as it stands", changed)]
    assert "1 warning: protocol." in " ".join(run.page().all("header")[0].text.split())
    print_table(results)
    out = " ".join(capsys.readouterr().out.split())
    assert f"not the protocol quick as it stands: {', '.join(changed)}" in out
    results["deviations"] = {"quick": []}
    write_report(ReportConfig(), results, run.trained(), run.index, None, run.root / "report.html")
    assert 'id="warnings"' not in (run.root / "report.html").read_text()
    print_table(results)
    assert "as it stands" not in capsys.readouterr().out


def test_many_classes_stay_below_the_size(run: Run) -> None:
    """Pictures get smaller, then fewer, and no class is left out."""
    many = with_classes(run, 40)
    whole = many.page(scores := write_scores(many, truth=False))
    small = many.page(scores, ReportConfig(megabytes=0.3))
    assert "has reduced pictures" not in whole.source
    assert "has reduced pictures" in small.source
    assert len(small.source) < 300_000 < len(whole.source)
    assert len(small.all("article")) == 40
    assert len(small.all("img", "distilled")) >= 40
    assert len(small.all("div", "map")) == 40


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
    losses = dataclasses.replace(first.stages["index"], name="teacher_crops", fingerprint="l")
    stages = {"index": other.stages["index"], "teacher_crops": losses, **other.stages}
    lines = stage_lines([first, dataclasses.replace(other, stages=stages)])
    assert list(dict.fromkeys(line.done.name for line in lines)) == ["index", "teacher_crops", "composition", "student"]


def test_stages_are_counted_once(run: Run) -> None:
    lines = stage_lines(run.trained())
    assert [(line.done.name, line.users) for line in lines[:2]] == [
        ("index", "every student"),
        ("composition", "diffusion, seed 0"),
    ]
    page = run.page()
    assert page.row("index")[1] == ["index", "", "1", "5.0 s", "", "1.5 kB", "5.0 GB"]
    assert page.row("composition")[1] == ["composition", "6", "", "6.0 s", "", "9.0 kB", "1.0 GB"]
    assert page.row("student")[1] == ["student", "6", "", "7 min 00 s", "", "9.0 kB", "70 GB"]
    assert "peak on the GPU" not in page.source
    assert "s-random_crop-1" in page.source


def test_several_students_have_a_table_of_their_own(run: Run) -> None:
    results, trained = run.results(), run.trained()
    others = [{**entry, "student": "vit", "top1_last": entry["top1_last"] - 5} for entry in results["results"]]
    results["results"] += others
    trained += [dataclasses.replace(trial, student=StudentConfig("vit", "vit_tiny")) for trial in trained]
    write_report(ReportConfig(), results, trained, run.index, None, run.root / "report.html")
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
    trained += [dataclasses.replace(trial, protocol=ProtocolConfig("hard", steps=1)) for trial in trained]
    write_report(ReportConfig(), results, trained, run.index, None, run.root / "report.html")
    page = Page((run.root / "report.html").read_text())
    assert page.row("diffusion")[1][3:5] == ["2", "62.0 ± 2.8"]  # the comparison is that of the chosen protocol
    assert '<td class="number">62.0 ± 2.8</td><td class="number">57.0 ± 2.8</td>' in page.source
    assert "The same distilled sets under every protocol: top-1" in page.source
    assert "protocol.flip=false (hard: true)" in page.source  # among the warnings
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
    write_report(ReportConfig(), results, run.trained(), run.index, None, run.root / "report.html")
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

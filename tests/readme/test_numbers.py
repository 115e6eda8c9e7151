"""Every accuracy in the READMEs is the one in the frozen results."""

import importlib.util
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from ddselect.evaluation.results import comparison

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "experiments" / "embedded_default"


def lines() -> list[str]:
    """The comparison as the READMEs show it."""
    rows = comparison(json.loads((STUDY / "results.json").read_text())["results"])
    return [
        f"| {r.selection} | {r.composition} | {r.images} | {r.top1:.1f} ± {r.top1_std:.1f} | {r.top1_best:.1f} |"
        for r in rows
    ]


@pytest.mark.parametrize("readme", [ROOT / "README.md", STUDY / "README.md"])
def test_accuracies_are_those_of_the_frozen_results(readme: Path) -> None:
    text = readme.read_text()
    assert len(lines()) == 6
    for line in lines():
        assert line in text


def test_differences_are_those_of_the_frozen_results() -> None:
    text, found = " ".join((STUDY / "README.md").read_text().split()), dict[str, dict[int, float]]()
    for entry in json.loads((STUDY / "results.json").read_text())["results"]:
        found.setdefault(entry["selection"], {})[entry["seed"]] = entry["top1_last"]

    def ahead(rival: str) -> str:
        differences = [found["diffusion"][seed] - top1 for seed, top1 in found[rival].items()]
        return f"{mean(differences):.1f} ± {stdev(differences) / len(differences) ** 0.5:.1f}"

    assert f"random whole images by {ahead('random_image')} points" in text
    assert f"RDED as published by {ahead('rded_published')}," in text
    assert f"above RDED with crops of one size by {ahead('rded')}," in text


def test_accuracy_by_the_score_alone_is_that_of_the_frozen_results() -> None:
    rows = {row.selection: row for row in comparison(json.loads((STUDY / "by_score.json").read_text())["results"])}
    found = f"the method gave {rows['diffusion'].top1:.1f} ± {rows['diffusion'].top1_std:.1f}"
    assert found in " ".join((STUDY / "README.md").read_text().split())


def test_accuracy_of_half_whole_images_is_that_of_the_frozen_results() -> None:
    rows = {row.selection: row for row in comparison(json.loads((STUDY / "half_whole.json").read_text())["results"])}
    found = f"images whole it was {rows['diffusion'].top1:.1f} ± {rows['diffusion'].top1_std:.1f}"
    assert found in " ".join((STUDY / "README.md").read_text().split())


def test_accuracy_without_the_mean_style_first_is_that_of_the_frozen_results() -> None:
    rows = {row.selection: row for row in comparison(json.loads((STUDY / "stitched.json").read_text())["results"])}
    found = f"in bf16, it was {rows['diffusion'].top1:.1f} ± {rows['diffusion'].top1_std:.1f} and level with RDED"
    assert found in " ".join((STUDY / "README.md").read_text().split())


def test_accuracy_by_clusters_is_that_of_the_frozen_results() -> None:
    rows = {row.selection: row for row in comparison(json.loads((STUDY / "by_clusters.json").read_text())["results"])}
    found = f"share it gave {rows['diffusion'].top1:.1f} ± {rows['diffusion'].top1_std:.1f} on these"
    assert found in " ".join((STUDY / "README.md").read_text().split())


def test_accuracy_without_mixed_classes_is_that_of_the_frozen_results() -> None:
    rows = {row.selection: row for row in comparison(json.loads((STUDY / "by_styles.json").read_text())["results"])}
    found = f"of the candidates, it was {rows['diffusion'].top1:.1f} ± {rows['diffusion'].top1_std:.1f}"
    assert found in " ".join((STUDY / "README.md").read_text().split())


def test_accuracies_before_are_those_of_the_frozen_results() -> None:
    rows = {row.selection: row for row in comparison(json.loads((STUDY / "batches_16.json").read_text())["results"])}
    shown = {name: f"{row.top1:.1f} ± {row.top1_std:.1f}" for name, row in rows.items()}
    before = f"all data gave {shown['all']}, `diffusion` {shown['diffusion']}, `rded` {shown['rded']} and random images"
    assert f"{before} {shown['random_image']}" in (STUDY / "README.md").read_text()


def test_speed_and_localisation_are_those_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "scoring_speed"
    frozen = json.loads((study / "results.json").read_text())
    text = (study / "README.md").read_text()
    for row in frozen["rows"]:
        assert f"| {row['variant']} | {row['dtype']} | {row['images_per_second']} | {row['ratio']} |" in text
    found = frozen["localisation"]
    for number in (f"{found['pointing_game']:.1f} %", f"{found['coverage']:.3f}"):
        assert number in text
        assert number in (ROOT / "README.md").read_text()


def test_memory_of_full_size_models_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "full_size"
    text = (study / "README.md").read_text()
    rows = json.loads((study / "results.json").read_text())["rows"]
    assert [row["backbone"] for row in rows] == ["sd15", "dit_xl_2_256"]
    for row in rows:
        numbers = (row["scoring_seconds"], row["whole_run_seconds"], row["peak_memory_gib"])
        assert f"| {row['backbone']} | {row['images']} | {' | '.join(map(str, numbers))} |" in text


def test_rates_on_a_gpu_are_those_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "full_size"
    text, frozen = " ".join((study / "README.md").read_text().split()), json.loads((study / "gpu.json").read_text())
    for row in frozen["of_matmul"]:
        shown = ("precision", "image_side", "batch", "evaluations_per_second", "tflops", "share_of_matmul")
        assert f"| {' | '.join(str(row[name]) for name in shown)} |" in text
    for row in frozen["scoring"]:
        seconds = f"{row['stage_seconds']:.1f}"
        assert f"| {row['backbone']} | {row['images_per_second']} | {seconds} | {row['gpu_peak_gib']} |" in text
    sd15, dit = (row["images_per_second"] for row in frozen["scoring"])
    assert f"reaches {8 * sd15:.0f} of the {frozen['of_matmul'][0]['evaluations_per_second']:.0f}" in text
    assert f"take {300_000 / sd15 / 60:.0f} minutes" in text
    front = " ".join((ROOT / "README.md").read_text().split())
    assert f"score {sd15:.0f} (Stable Diffusion 1.5) and {dit:.0f} (DiT-XL/2) photographs per second" in front
    plan = (ROOT / "experiments" / "scale_plan" / "README.md").read_text()
    for row in frozen["of_matmul"][:2]:
        assert f"{row['tflops']:.0f}" in plan
    assert f"handles {sd15} photographs" in plan


def test_the_plan_at_scale_is_the_computed_one() -> None:
    study = ROOT / "experiments" / "scale_plan"
    text = (study / "README.md").read_text()
    plans = json.loads((study / "plan.json").read_text())["plans"]
    for name, found in plans.items():
        for scorer in ("reference", "ours"):
            plan = found[scorer]
            hours = f"{plan['hours_1_gpu']:g} | {plan['hours_8_gpus']:g} | {plan['gib_kept']:g}"
            numbers = f"{plan['candidates']:,} | {plan['exaflop']:.2f} | {hours}"
            assert f"| {name} | {scorer}: {plan['draws']} draws at {plan['pixels']} px | {numbers} |" in text
        for stored in found["labels"]:
            assert f"| {name} | {stored['ipc']} | {stored['gib_logits']:g} | {stored['gib_features']:g} |" in text
    assert f"{plans['ImageNet-1K']['times_fewer_flop']:.0f} times fewer" in text


MODES = {
    "class_label": "class against null class",
    "class_none": "null class alone",
    "text_label": '"3" against ""',
    "text_text": '"a photo of a 3" against "a photo"',
    "text_without_label": '"a photo of a digit" against ""',
    "text_none": '"" alone',
}


@pytest.mark.parametrize("name", MODES)
def test_prompt_modes_are_those_of_the_frozen_results(name: str) -> None:
    study = ROOT / "experiments" / "prompt_modes"
    results = json.loads((study / f"{name}.json").read_text())
    row, found = comparison(results["results"])[0], results["localisation"]
    assert (row.selection, row.seeds) == ("diffusion", 3)
    numbers = f"{found['pointing_game']:.1f} | {found['coverage']:.3f} | {row.top1:.1f} ± {row.top1_std:.1f}"
    assert f"| `{name}` | {MODES[name]} | {numbers} |" in (study / "README.md").read_text()


def test_what_adapting_buys_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "adaptation"
    text = (study / "README.md").read_text()
    rows = json.loads((study / "results.json").read_text())["rows"]
    assert len(rows) == 3
    for row in rows:
        assert f"| {row['prior']} | {row['pointing_game']:.1f} | {row['coverage']:.3f} |" in text


def test_what_cheaper_scoring_costs_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "scoring_cost"
    text = (study / "README.md").read_text()
    frozen = json.loads((study / "levers.json").read_text())
    assert len(frozen["rows"]) == 33
    for row in frozen["rows"]:
        shares = " | ".join(f"{row[name]:.2f}" for name in ("crops", "images", "recall", "overlap"))
        found = row.get("localisation")
        place = f"{found['pointing_game']:.1f} | {found['coverage']:.3f}" if found else "- | -"
        assert f"| {row['scoring']} | {row['evaluations']:g} | {shares} | {place} |" in text
    for value in frozen["ceiling"].values():
        assert f"{value:.3f}" in text
    assert f"{frozen['reference_localisation']['pointing_game']:.1f} %" in text


def test_cross_terms_of_another_prior_are_those_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "scoring_cost"
    text, (without, half) = (study / "README.md").read_text(), json.loads((study / "text_prior.json").read_text())
    assert (without["cross"], half["cross"], half["images"]) == (0.0, 0.5, 300)
    for own, mixed in zip(without["rows"], half["rows"], strict=True):
        pairs = " | ".join(f"{own[name]:.2f}, {mixed[name]:.2f}" for name in ("crops", "images", "recall", "overlap"))
        assert f"| {own['draws']} | {own['evaluations']} | {pairs} |" in text


def test_how_the_engine_scales_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "scoring_cost"
    text = (study / "README.md").read_text()
    frozen = json.loads((study / "engine.json").read_text())
    ranks = frozen["ranks"]
    values = [
        *frozen["growth"].values(),
        *(", ".join(map(str, ranks[f"images_per_second_{count}"])) for count in (1, 2)),
        ranks["speedup"],
        *(frozen["stable_diffusion_15"][precision]["share_of_matmul"] for precision in ("fp32", "bf16")),
        frozen["beside_the_model"]["share_beside"],
    ]
    for value in values:
        assert f"| {value} |" in text


def test_a_table_of_imagenets_size_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "scoring_cost"
    text = (study / "README.md").read_text()
    frozen = json.loads((study / "million.json").read_text())
    for step in ("plan", "score", "select", "cluster"):
        assert f"| {frozen[step]['seconds']} | {frozen[step]['peak_gib']} |" in text
        assert frozen[step]["peak_gib"] < 2
    for name in ("memory_bytes_per_image", "stored_bytes_per_image"):
        assert f"{frozen['scoring'][name]} bytes" in text


def test_the_look_alike_of_imagenet_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "imagenet_lookalike"
    text = (study / "README.md").read_text()
    frozen = json.loads((study / "results.json").read_text())
    for stage, seconds in frozen["stages"].items():
        assert f"| {stage} | {seconds} |" in text
    assert f"| whole run | {frozen['seconds']} |" in text
    assert f"{frozen['peak_gib']} GiB" in text


def test_the_index_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "indexing"
    text, frozen = (study / "README.md").read_text(), json.loads((study / "results.json").read_text())
    found = frozen["indexing"]
    for number in (
        f"{found['seconds']} s, {found['files_per_second']} files per second",
        f"{found['again_seconds']} s, {found['read_again']} files read",
        f"| {found['signature_seconds']} s |",
        f"{found['bytes_per_row_in_memory']} bytes per file",
        f"| two reading threads to one | {found['two_threads_to_one']} |",
    ):
        assert number in text
    for row in frozen["loading"]:
        assert f"| {row['bare']} | {row['data_path']} | {row['ratio']} |" in text


def test_student_speed_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "student_speed"
    text = (study / "README.md").read_text()
    frozen = json.loads((study / "results.json").read_text())
    for row in frozen["rows"]:
        rates = [
            f"{row['epochs_per_second'][kind]:.2f}" for kind in ("ours, default", "ours, fp32", "plain", "plain, bf16")
        ]
        pairs = ("ours, default / plain", "ours, default / plain, bf16", "ours, fp32 / plain")
        ratios = [f"{row['ratios'][pair]['median']:.2f}" for pair in pairs]
        assert f"| {row['student']} | {' | '.join(rates)} | {' | '.join(ratios)} |" in text
    for student in {row["student"] for row in frozen.get("to_the_end", [])}:
        runs = [row for row in frozen["to_the_end"] if row["student"] == student]
        ours, plain = ([row[key] for row in runs] for key in ("top1", "plain_top1"))
        shown = f"{mean(ours):.1f} ± {stdev(ours):.1f} | {mean(plain):.1f} ± {stdev(plain):.1f}"
        assert f"| {student} | {runs[0]['epochs']} | {shown} |" in text
    (before,) = json.loads((study / "avx2.json").read_text())["rows"]
    assert f"{before['ratio']} times as fast with the ConvNet-3" in text
    assert f"{min(before['ratios'])} to {max(before['ratios'])})" in text


def test_the_photographs_are_those_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "photographs"
    text, frozen = (study / "README.md").read_text(), json.loads((study / "results.json").read_text())
    for row in frozen["rows"]:
        assert f"| `{row['command']}` | {row['seconds']} |" in text
    assert f"{frozen['photographs']['smallest_side']} to {frozen['photographs']['largest_side']} pixels" in text
    assert f"{frozen['peak_gib']} GiB" in text
    assert f"teacher {frozen['teacher_top1']} %" in text
    assert f"student {frozen['top1']} %" in text


def test_decoding_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "decoding"
    lines = [line for line in (study / "README.md").read_text().splitlines() if line.startswith("| ")][1:]
    small, large = json.loads((study / "results.json").read_text())["rows"].values()
    numbers = [f" | {small[way]['ratio']} | {large[way]['ratio']} | {large[way]['mean_difference']} |" for way in small]
    assert len(lines) == len(numbers) == 5
    assert [line[-len(row) :] for line, row in zip(lines, numbers, strict=True)] == numbers


def script(path: str) -> Any:
    """A script of a study, as a module."""
    found = importlib.util.spec_from_file_location(path.replace("/", "_"), ROOT / "experiments" / f"{path}.py")
    assert found
    assert found.loader
    found.loader.exec_module(module := importlib.util.module_from_spec(found))
    return module


def overview() -> list[str]:
    """The rivals' table in the README: IPC and labels by selection."""
    study, rows = script("rivals/study"), []
    names = ("diffusion", "rded", "rded whole=1.0", "random_image", "all")
    for protocol, labels in (("digits", "soft"), ("rded", "soft, RDED's protocol"), ("digits_hard", "class")):
        for ipc, results in study.read(protocol).items():
            found = {name: list(by_seed.values()) for name, by_seed in study.accuracies(results).items()}
            known = [name for name in names if name in found]
            values = {name: f"{mean(found[name]):.1f} ± {stdev(found[name]):.1f}" for name in known}
            shown = (values.get(name, "-") for name in names)
            rows.append(f"| {ipc}, {labels} | {' | '.join(shown)} |")
    return rows


def test_rivals_are_those_of_the_frozen_results() -> None:
    study = script("rivals/study")
    text = (ROOT / "experiments" / "rivals" / "README.md").read_text()
    for protocol in study.PROTOCOLS:
        for results in study.read(protocol).values():
            for row in study.lines(results):
                assert row in text
    for ipc in (10, 50):
        for row in study.contents(study.read("digits_hard")[ipc]):
            assert row in text
    spread = study.contents(study.read("digits")[50])[2].split(" | ")[1:6]
    assert (
        "it has a coverage of {}, a density of {}, a diversity of {}, a redundancy of {} and a teacher loss of {}."
    ).format(*spread) in text
    for name in ("fresh_ipc10", "fresh_ipc50"):
        for row in study.lines(json.loads((study.HERE / f"{name}.json").read_text())["results"]):
            assert row in text
    front = (ROOT / "README.md").read_text()
    for row in overview():
        assert row in front
    generated = study.accuracies(study.read("digits")[10])
    ours, random = (mean(generated[f"{name} pool=generated"].values()) for name in ("diffusion", "random_image"))
    assert f"(at IPC 10 {ours:.1f} against {random:.1f} %)" in " ".join(front.split())
    again = study.accuracies(json.loads((study.HERE / "float32_hard_ipc10.json").read_text())["results"])
    shown = {name: f"{mean(values.values()):.1f} ± {stdev(values.values()):.1f}" for name, values in again.items()}
    assert f"came to {shown['diffusion']} there, and RDED to {shown['rded']} (" in text
    clustered = study.accuracies(json.loads((study.HERE / "by_clusters_ipc10.json").read_text())["results"])
    (values,) = clustered.values()
    assert f"from clusters {mean(values.values()):.1f} ± {stdev(values.values()):.1f}" in text


def test_leads_at_ipc_50_are_those_of_the_frozen_results() -> None:
    study = script("rivals/study")
    text = (study.HERE / "README.md").read_text()

    def leads(found: list[dict[str, Any]]) -> tuple[dict[str, str], set[str]]:
        """How far the method is from each of the others, and those that it is behind."""
        by_name = study.accuracies(found)
        pairs = {name: study.paired(by_name["diffusion"], theirs) for name, theirs in by_name.items() if name != "all"}
        gaps = {name: f"{abs(ahead):.1f} ± {error:.1f}" for name, (ahead, error) in pairs.items()}
        return gaps, {name for name, (ahead, _) in pairs.items() if ahead < 0}

    (known, before), wide = leads(study.read("digits")[50]), "rded area=[0.08, 1.0]"
    assert before == {"kcenter", "moderate"}
    words = " ".join(text.partition("### IPC 50\n")[2].partition("\n#")[0].split())
    for name, said in (
        ("random_image", "random images ({})"),
        ("random_crop", "random crops ({})"),
        ("rded_published", "not ({} and " + known[wide] + ")"),
        ("herding", "herding ({})"),
        ("ccs", "CCS ({})"),
        ("clusters whole=1.0", "clusters ({})"),
        ("top_score whole=1.0", "alone ({})"),
        ("kcenter", "k-center of all candidates ({})"),
    ):
        assert said.format(known[name]) in words
    fresh_results = json.loads((study.HERE / "fresh_ipc50.json").read_text())["results"]
    fresh, before = leads(fresh_results)
    assert before == {"random_image"}
    assert {fresh[name][:3] for name in (wide, "rded whole=0.5", "rded whole=1.0")} == {"0.2", "0.3"}
    assert fresh["random_crop"].startswith("1.0")
    words = " ".join(text.partition("## Fresh scenes, IPC 50")[2].partition("\n## ")[0].split())
    assert fresh["kcenter"] == fresh["moderate"]
    for name, said in (
        ("kcenter", "k-center and moderate by {},"),
        ("ccs", "CCS by {},"),
        ("rded_published", "RDED as published by {},"),
        ("herding", "herding ({})"),
        ("rded", "RDED's crops of one size ({})"),
        ("diffusion image_pick=style", "its own styles ({})"),
        ("random_image", "random images ({} behind)"),
    ):
        assert said.format(fresh[name]) in words
    drawn = study.accuracies(study.read("digits")[50]), study.accuracies(fresh_results)
    above, here = (study.paired(found["kcenter"], found["random_image"]) for found in drawn)
    order = f"is {above[0]:.1f} ± {above[1]:.1f} ahead of random images, here {-here[0]:.1f} ± {here[1]:.1f} behind"
    assert order in words
    few = study.accuracies(study.read("rded")[10])
    more = study.accuracies(json.loads((study.HERE / "more_rded_ipc10.json").read_text())["results"])
    rival = "rded mix_classes=True"
    ours, theirs = (f"{mean(v.values()):.1f} ± {stdev(v.values()):.1f}" for v in (more["diffusion"], more[rival]))
    added = "{:.1f} ± {:.1f}".format(*study.paired(more["diffusion"], more[rival]))
    whole = "{:.1f} ± {:.1f}".format(*study.paired(few["diffusion"] | more["diffusion"], few[rival] | more[rival]))
    said = " ".join(text.split())
    assert f"{ours} and {theirs}, {added} ahead; over all 15 seeds it is {whole}." in said
    assert f"(at IPC 10, over 15 seeds, {whole} ahead of RDED's crops" in said
    assert f"by {whole} over 15 seeds)" in " ".join((ROOT / "README.md").read_text().split())
    published, before = leads(study.read("rded")[50])
    assert "diffusion image_pick=style" in before
    assert f"and {published['diffusion image_pick=style']} behind its own order by style" in " ".join(text.split())


def test_generated_images_are_those_of_the_frozen_results() -> None:
    study = script("rivals/study")
    text = (study.HERE / "README.md").read_text()
    for row in study.by_pool():
        assert row in text
    words = " ".join(text.partition("## Generated images")[2].split())
    soft, hard = ({ipc: study.accuracies(found) for ipc, found in study.read(p).items()} for p in study.PROTOCOLS[:2])
    real: dict[int, dict[int, float]] = {}  # the method in float32, as the rows of generated images are
    for entry in json.loads((study.HERE / "float32_soft.json").read_text())["results"]:
        real.setdefault(entry["ipc"], {})[entry["seed"]] = entry["top1_last"]
    alone = study.accuracies(json.loads((study.HERE / "float32_hard_ipc10.json").read_text())["results"])["diffusion"]
    few, some, many = (f"{mean(real[ipc].values()):.1f} ± {stdev(real[ipc].values()):.1f}" for ipc in (1, 10, 50))
    assert f"has {few}, {some} and {many} at IPC 1, 10 and 50 with soft labels" in words

    def gap(better: dict[int, float], worse: dict[int, float]) -> str:
        return "{:.1f} ± {:.1f}".format(*study.paired(better, worse))

    drawn, both, rded = "diffusion pool=generated", "diffusion pool=mixed", "rded pool=generated"
    ahead = [gap(found[10][drawn], found[10][rded]) for found in (soft, hard)]
    assert f"by {ahead[0]} points and, with class labels, {ahead[1]}." in words
    before = gap(soft[50][drawn], soft[50]["random_image pool=generated"])
    behind = gap(soft[50]["random_image pool=prototypes"], soft[50][drawn])
    assert f"it is {before} before random ones and {behind} behind prototypes" in words
    more = [gap(real[ipc], soft[ipc][drawn]) for ipc in (1, 10, 50)]
    labelled = gap(alone, hard[10][drawn])
    assert f"soft labels {more[0]}, {more[1]} and {more[2]} points, with class labels {labelled} at IPC 10" in words
    assert f"give it: {gap(soft[1][both], real[1])} more at IPC 1" in words
    less = [gap(real[ipc], soft[ipc][both]) for ipc in (10, 50)]
    assert f"{less[0]} and {less[1]} less at 10 and 50" in words
    hardly = gap(alone, hard[10][both]), gap(hard[50]["diffusion"], hard[50][both])
    assert f"with class labels {hardly[0]} less at IPC 10 and {hardly[1]} less at 50" in words


def test_choices_are_those_of_the_frozen_results() -> None:
    study, side = script("rivals/study"), script("choices/side_by_side")
    where = ROOT / "experiments" / "choices"
    text = (where / "README.md").read_text()
    for row in json.loads((where / "hard_shares.json").read_text())["rows"]:
        both = " | ".join(f"{mean(row[name]):.1f} ± {stdev(row[name]):.1f}" for name in ("diffusion", "rded"))
        assert f"| {row['ipc']} | {row['whole']:.0%} | {both} |" in text
    styles = json.loads((where / "styles.json").read_text())
    for name, values in styles["pools"].items():
        assert f"| {name} | {mean(values):.1f} ± {stdev(values):.1f} |" in text
    for ipc, found in styles["datasets"].items():
        for name, by_set in found.items():
            top1 = f"{mean(by_set.values()):.1f} ± {stdev(by_set.values()):.1f}"
            assert f"| {ipc} | {name} | {top1} | {', '.join(by_set)} |" in text
    shown = text.partition("## How the ranking was chosen")[2].partition("## The protocol")[0]
    rows = [line for line in shown.splitlines() if "% | " in line and "±" in line]
    assert len(rows) > 40
    assert set(rows) <= {row for ipc in side.REPEATS for row in side.lines(ipc)}
    for row in side.gains():
        assert row in shown
    rows = study.lines(json.loads((where / "earlier_ipc10.json").read_text())["results"])
    assert len(rows) == 20
    for row in rows:
        assert row in text
    chosen: dict[tuple[int, str], list[float]] = {}
    for entry in json.loads((where / "earlier_validation.json").read_text())["results"]:
        chosen.setdefault((entry["ipc"], entry["selection"]), []).append(entry["top1_last"])
    assert len(chosen) == 19
    for values in chosen.values():
        assert f"{mean(values):.1f} ± {stdev(values):.1f}" in text
    apart = json.loads((where / "apart.json").read_text())
    for row in apart["recipes"]:
        asked = {"ipc1": ["random_image", "rded", "top_score"], "ipc10": ["random_image", "rded", "top_score", "all"]}
        cells = [f"{mean(row[ipc][name]):.1f}" if ipc in row else "-" for ipc, names in asked.items() for name in names]
        assert f"| {row['recipe']} | {' | '.join(cells)} |" in text
    assert {ipc: len(found) for ipc, found in apart["selections"].items()} == {"1": 9, "10": 11, "50": 6}
    for ipc, found in apart["selections"].items():
        for name, values in found.items():
            assert f"| {ipc} | {name} | {mean(values):.1f} ± {stdev(values):.1f} |" in text


def test_second_dataset_is_as_in_the_frozen_results() -> None:
    study, where = script("rivals/study"), ROOT / "experiments" / "second_dataset"
    text = (where / "README.md").read_text()
    files = {path.stem: json.loads(path.read_text()) for path in where.glob("digits*.json")}
    assert sorted(files) == ["digits_hard_ipc10", "digits_ipc10", "digits_ipc50"]
    for frozen in files.values():
        for row in study.lines(frozen["results"]):
            assert row in text
    soft = files["digits_ipc10"]
    for row in study.contents(soft["results"]):
        assert row in text
    found, words = soft["localisation"], " ".join(text.split())
    for number in (
        f"The teacher has {soft['teacher_top1']:.1f} %",
        f"{found['pointing_game']:.1f} % (chance {found['pointing_game_chance']:.1f} %)",
        f"{found['coverage']:.3f} of the true box (a random one {found['coverage_chance']:.3f})",
    ):
        assert number in words
    tried = study.accuracies(json.loads((where / "validation_ipc50.json").read_text())["results"])
    shown = {name: f"{mean(values.values()):.1f} ± {stdev(values.values()):.1f}" for name, values in tried.items()}
    assert (
        f"by style came to {shown['diffusion']}, with all candidates kept to {shown['diffusion keep=1.0']}, random "
        f"images to {shown['random_image']}, moderate to {shown['moderate']}, and crops of mixed classes to less, "
        f"{shown['diffusion whole=0.0']}." in words
    )
    before: dict[str, list[float]] = {}
    for entry in json.loads((where / "earlier.json").read_text())["results"]:
        before.setdefault(entry["selection"], []).append(entry["top1_last"])
    for name in ("diffusion", "rded", "random_image"):
        assert f"`{name}` {mean(before[name]):.1f} ± {stdev(before[name]):.1f}" in words


def test_ablations_are_those_of_the_frozen_results() -> None:
    study, where = script("ablations/study"), ROOT / "experiments" / "ablations"
    text, files = (where / "README.md").read_text(), sorted(where.glob("*.json"))
    assert len(files) == 9
    for path in files:
        for row in study.lines(json.loads(path.read_text())["rows"]):
            assert row in text
    _, names, sentences = (row["top1"] for row in json.loads((where / "prompt.json").read_text())["rows"])
    differences = [more - less for more, less in zip(sentences, names, strict=True)]
    assert f"higher mean ({mean(differences):.1f} ± {stdev(differences) / 3**0.5:.1f} in the same seeds)" in " ".join(
        text.split()
    )


def test_cross_architecture_is_that_of_the_frozen_results() -> None:
    study = ROOT / "experiments" / "cross_architecture"
    text = (study / "README.md").read_text()
    found: dict[tuple[str, str], list[float]] = {}
    for entry in json.loads((study / "results.json").read_text())["results"]:
        found.setdefault((entry["student"], entry["protocol"]), []).append(entry["top1_last"])
    assert {len(values) for values in found.values()} == {3}
    students = {student for student, _ in found}
    assert len(students) == 3
    for student in students:
        both = (found[student, protocol] for protocol in ("digits", "digits_hard"))
        soft, hard = (f"{mean(values):.1f} ± {stdev(values):.1f}" for values in both)
        assert f" | {soft} | {hard} |" in next(line for line in text.splitlines() if line.startswith(f"| {student} |"))
    (everything,) = [row for row in lines() if row.startswith("| all |")]
    assert f"3000 images give it {everything.split(' | ')[3]}, [embedded_default]" in text
    few = json.loads((study / "ipc10.json").read_text())["results"]
    hard = [entry["top1_last"] for entry in few if entry["protocol"] == "digits_hard"]
    assert f"({min(hard):.0f} to {max(hard):.0f} %" in text


def test_folds_are_those_of_the_frozen_results() -> None:
    where = ROOT / "experiments" / "choices"
    text = " ".join((where / "README.md").read_text().split())
    found: dict[tuple[Any, ...], dict[tuple[int, int], float]] = {}
    for row in json.loads((where / "folds.json").read_text()):
        arm = row["ipc"], row["crops"], row["images"], row["whole"], row["mix_classes"]
        found.setdefault(arm, {})[row["dataset_seed"], row["student"]] = row["top1"]
    base = {
        1: (1, "d:sty.5", "-", 0, False),
        10: (10, "d:sty.5", "sty.5", 0.5, False),
        50: (50, "-", "sty.25", 1, False),
    }

    def against(one: tuple[Any, ...], other: tuple[Any, ...]) -> str:
        common = sorted(found[one].keys() & found[other].keys())
        differences = [found[one][key] - found[other][key] for key in common]
        if one == other or len(common) < 2:
            return ""
        return f"{mean(differences):+.1f} ± {stdev(differences) / len(common) ** 0.5:.1f}"

    for arm, by_key in found.items():
        ipc, crops, images, whole, mix_classes = arm
        values = f"{mean(by_key.values()):.1f} ± {stdev(by_key.values()):.1f} | {len(by_key)}"
        shown = f"| {ipc} | {crops} | {images} | {whole:.0%} | {'yes' if mix_classes else ''} | {values} |"
        assert " ".join(f"{shown} {against(arm, base[ipc])} |".split()) in text
    mixed = (1, "d:sty.5", "-", 0, True)
    assert f"(`mix_classes`) give {against(mixed, base[1])[1:]} points at IPC 1" in text
    assert f"and {against((10, 'd:sty.5', 'sty.5', 0.5, True), base[10])[1:]} at IPC 10" in text
    assert f"then {against(mixed, (1, 'r:low', '-', 0, True))[1:]} ahead of RDED's" in text
    assert f"gives {against((50, '-', 'sty.5', 1, False), base[50])[1:]} at IPC 50" in text


def test_folds_of_rdeds_protocol_are_those_of_the_frozen_results() -> None:
    text = (ROOT / "experiments" / "choices" / "README.md").read_text()
    found: dict[str, list[float]] = {}
    for entry in json.loads((ROOT / "experiments" / "choices" / "rded_folds.json").read_text())["results"]:
        found.setdefault(entry["selection"], []).append(entry["top1_last"])
    assert len(found) == 6
    for name, values in found.items():
        differences = [ours - theirs for ours, theirs in zip(found["diffusion"], values, strict=True)]
        ahead = f"{mean(differences):+.1f} ± {stdev(differences) / len(differences) ** 0.5:.1f}"
        row = f"| {name} | {mean(values):.1f} ± {stdev(values):.1f} | {'' if name == 'diffusion' else ahead + ' '}|"
        assert row in text


def test_orders_of_whole_images_are_those_of_the_frozen_results() -> None:
    where = ROOT / "experiments" / "choices"
    text = (where / "README.md").read_text()
    shown = text.partition("## The order of whole images")[2].partition("\n## ")[0]
    words = " ".join(shown.split())
    tables: dict[str, dict[str, dict[str, float]]] = json.loads((where / "whole_images.json").read_text())

    def against(one: dict[str, float], other: dict[str, float]) -> str:
        differences = [one[key] - other[key] for key in one if key in other]
        return f"{mean(differences):+.2f} ± {stdev(differences) / len(differences) ** 0.5:.2f}"

    for found in tables.values():
        for name, by_student in found.items():
            values = list(by_student.values())
            ahead = "" if name == "k-center" else f"{against(by_student, found['k-center'])} "
            assert f"| {name} | {mean(values):.2f} ± {stdev(values):.2f} | {len(values)} | {ahead}|" in shown
    soft, hard, shapes = tables.values()
    assert len(soft) == 25
    styles, now = "by style among the best half: the default before", "k-center among the best 80%: the default now"
    assert f"k-center is {against(soft['k-center'], soft[styles])[1:]} before styles" in words
    assert f"it is {against(soft[now], soft[styles])[1:]} before them" in words
    assert f"the latter {against(shapes[now], shapes[styles])[1:]} before styles" in words
    assert f"k-center is {against(hard[styles], hard['k-center'])[1:]} behind styles" in words
    assert f"are {against(soft['k-center, image and best crop'], soft['k-center'])[1:]} better than k-center" in words
    everything = soft["all 3000 scenes"]
    assert f"are {against(everything, soft['k-center'])[1:]} better than k-center with 500" in words
    assert f"({against(soft['k-center, image and best crop'], everything)[1:]}, image and best crop)" in words

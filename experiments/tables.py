"""The tables of README.md and of every study, from the frozen results: `python experiments/tables.py [--write]`.

With a folder of results of `experiments/real/study.py` in place of --write it prints the tables of these.

A table stands between `<!-- name -->` and `<!-- end of name -->`. Pages whose tables are not as their files have
them are named, and written with --write. Accuracies are mean and standard deviation over the seeds; "ahead by" is the
mean of the paired differences to the first selection with its standard error.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
Found = dict[str, dict[int, float]]  # top-1 by selection (or another name) and seed


def load(name: str) -> Any:
    """A frozen file."""
    return json.loads((HERE / name).read_text())


def spread(values: Iterable[float]) -> str:
    """Mean and, of several, standard deviation."""
    values = [*values]
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def ahead(ours: dict[int, float], theirs: dict[int, float]) -> str:
    """Mean of the paired differences and, of several, its standard error."""
    differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if len(differences) < 2:
        return f"{differences[0]:+.1f}" if differences else ""
    return f"{mean(differences):+.1f} ± {stdev(differences) / len(differences) ** 0.5:.1f}"


def accuracies(results: list[dict[str, Any]], name: str = "selection") -> Found:
    """Top-1 after the last step by name and seed."""
    found: Found = defaultdict(dict)
    for entry in results:
        found[entry[name]][entry["seed"]] = entry["top1_last"]
    return found


def table(head: str, rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    names = [name.strip() for name in head.split("|")]
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def composition(entry: dict[str, Any]) -> str:
    """What distilled images are made of."""
    of = entry["composition"]
    crops = f"{of['factor']} x {of['factor']} crops{' of mixed classes' if of.get('mix_classes') else ''}"
    return (
        "whole images"
        if of["whole"] == 1 or of["factor"] == 1
        else crops
        if not of["whole"]
        else f"half {crops}, half whole"
    )


def study(folder: Path = HERE / "real") -> str:
    """The tables of a folder's results on real images, by part and IPC, each with the highest first."""
    named = [(*file.stem.split("_ipc"), file) for file in folder.glob("*_ipc*.json")]
    return "\n\n".join(
        f"**{part.replace('_', ' ')}, IPC {ipc}**: {compared(json.loads(file.read_text()))}"
        for part, ipc, file in sorted(named, key=lambda item: (item[0], int(item[1])))
    )


def compared(frozen: dict[str, Any]) -> str:
    """What a run was, and its accuracies beside the first selection's."""
    first, found = frozen["results"][0], accuracies(frozen["results"])
    ours, prior = found[first["selection"]], frozen["prior"].get("top1")
    known = f"prior {prior:.0f} % of {frozen['prior']['classes']} classes, " if prior else ""
    rows = (
        (name, spread(by_seed.values()), "" if by_seed is ours else ahead(ours, by_seed))
        for name, by_seed in sorted(found.items(), key=lambda item: -mean(item[1].values()))
    )
    return (
        f"{first['student']}, protocol `{first['protocol']}`, {len(ours)} seeds, {first['test_images']} test images; "
        f"{known}teacher {frozen['teacher']['top1']:.1f} %; commit `{frozen['commit'][:7]}`\n\n"
        + table(f"selection | top-1, % | {first['selection']} is ahead by", rows)
    )


def ways(lines: Iterable[dict[str, Any]] | None = None) -> str:
    """The ways to choose that were tried on validation images, by IPC and images seen, the highest first."""
    if lines is None:
        lines = map(json.loads, (HERE / "real" / "choose.jsonl").read_text().splitlines())
    found: dict[tuple[int, float, str, float, str], list[float]] = defaultdict(list)
    for line in lines:
        ranked = "" if line["share"] == 1 and line["order"] in ("random", "herding", "k_center") else line["rank"]
        found[line["ipc"], line.get("part", 1.0), ranked, line["share"], line["order"]].append(line["top1"])
    rows = (
        (ipc, f"{part:.0%}", ranked, f"{share:.0%}", order, spread(top1), len(top1))
        for (ipc, part, ranked, share, order), top1 in sorted(
            found.items(), key=lambda item: (item[0][0], -item[0][1], -mean(item[1]))
        )
    )
    return table("IPC | of all images | ranked by | share kept | order | top-1, %, validation | seeds", rows)


def front() -> str:
    """CIFAR-10 by selection and IPC, with what others published."""
    import yaml

    by_ipc = {
        load_ipc(file): accuracies(json.loads(file.read_text())["results"]) for file in HERE.glob("real/main_ipc*.json")
    }
    budgets = sorted(by_ipc)
    names = sorted(
        {name for found in by_ipc.values() for name in found},
        key=lambda name: -mean(by_ipc[10].get(name, {0: 0.0}).values()),
    )
    rows = [
        [f"`{name}`", *(spread(by_ipc[ipc][name].values()) if name in by_ipc[ipc] else "" for ipc in budgets)]
        for name in names
    ]
    published = yaml.safe_load((ROOT / "src" / "ddselect" / "evaluation" / "published.yaml").read_text())
    for name, figures in published["cifar10"]["soft"]["convnet3_bn"].items():
        rows.append([f"*{name}, as published*", *(f"*{figures[ipc]}*" if ipc in figures else "" for ipc in budgets)])
    return table(" | ".join(["selection", *(f"IPC {ipc}" for ipc in budgets)]), rows)


def load_ipc(file: Path) -> int:
    """The IPC in the name of a file."""
    return int(file.stem.rsplit("ipc", 1)[1])


RIVALS = (
    *(
        "ddselect",
        "rded",
        "rded mix_classes=True",
        "rded whole=1.0",
        "rded_published",
        "herding",
        "kcenter",
        "moderate",
        "ccs",
    ),
    *("random_image", "random_crop", "ddselect pool=generated", "random_image pool=generated", "all"),
)


def rivals(protocol: str) -> str:
    """All selections under a protocol, by IPC."""
    by_ipc = {ipc: accuracies(load(f"rivals/{protocol}_ipc{ipc}.json")["results"]) for ipc in (1, 10, 50)}
    rows = [
        [f"`{name}`", *(spread(found[name].values()) if name in found else "" for found in by_ipc.values())]
        for name in RIVALS
        if any(name in found for found in by_ipc.values())
    ]
    return table("selection | IPC 1 | IPC 10 | IPC 50", rows)


def embedded() -> str:
    """The embedded dataset at IPC 10."""
    frozen = load("embedded_default/results.json")
    found, best = accuracies(frozen["results"]), defaultdict(list)
    of = {entry["selection"]: entry for entry in frozen["results"]}
    for entry in frozen["results"]:
        best[entry["selection"]].append(entry["top1_best"])
    ours = found["ddselect"]
    rows = [
        [
            f"`{n}`",
            composition(of[n]),
            of[n]["training_images"],
            spread(v.values()),
            f"{mean(best[n]):.1f}",
            "" if v is ours else ahead(ours, v),
        ]
        for n, v in found.items()
    ]
    return table("selection | distilled images | images | top-1, % | best top-1, % | `ddselect` ahead by", rows)


def second(name: str) -> str:
    """The second dataset under a protocol and IPC."""
    results = load(f"second_dataset/{name}.json")["results"]
    found, of = accuracies(results), {entry["selection"]: entry for entry in results}
    ours = found["ddselect"]
    return table(
        "selection | distilled images | top-1, % | `ddselect` ahead by",
        (
            [f"`{n}`", composition(of[n]), spread(v.values()), "" if v is ours else ahead(ours, v)]
            for n, v in found.items()
        ),
    )


def ablation(name: str) -> str:
    """The settings of one choice."""
    return table(
        "setting | top-1, % | true box covered, %",
        (
            [f"`{r['setting']}`", spread(r["top1"]), f"{100 * r['localisation']['coverage']:.1f}"]
            for r in load(f"ablations/{name}.json")["rows"]
        ),
    )


MODES = {
    "class_label": ("`embedded`", "class against null class"),
    "class_none": ("`embedded`", "null class alone"),
    "text_label": ("`embedded_text`", '"3" against ""'),
    "text_text": ("`embedded_text`", '"a photo of a 3" against "a photo"'),
    "text_without_label": ("`embedded_text`", '"a photo of a digit" against ""'),
    "text_none": ("`embedded_text`", '"" alone'),
}


def prompts() -> str:
    """The prompt modes."""
    rows = []
    for name, told in MODES.items():
        frozen = load(f"prompt_modes/{name}.json")
        of, found = frozen["localisation"], accuracies(frozen["results"])["ddselect"]
        rows.append([*told, of["pointing_game"], f"{of['coverage']:.3f}", spread(found.values())])
    return table("prior | conditions | pointing game, % | coverage of the true box | top-1, %", rows)


def adaptation() -> str:
    """Localisation before and after."""
    rows = load("adaptation/results.json")["rows"]
    return table(
        "prior | pointing game, % | coverage of the true box",
        ([r["prior"], r["pointing_game"], r["coverage"]] for r in rows),
    )


def architectures() -> str:
    """Students by protocol."""
    results = load("cross_architecture/results.json")["results"]
    found = {p: accuracies([e for e in results if e["protocol"] == p], "student") for p in ("digits", "digits_hard")}
    rows = ([f"`{name}`", *(spread(of[name].values()) for of in found.values())] for name in found["digits"])
    return table("student | soft labels, top-1, % | class labels, top-1, %", rows)


LEVERS = (
    *("12 independent draws", "+ stratified", "+ antithetic", "+ placed by the change too"),
    *("20 draws, half cross terms, not placed by the change", "12 draws, half cross terms, not placed by the change"),
    *(
        "8 draws",
        "4 draws, band of the default, half cross terms: the default",
        "3 draws, not antithetic, band of the default",
    ),
)


def levers() -> str:
    """Fidelity of cheaper scorings."""
    rows = {row["scoring"]: row for row in load("scoring_cost/levers.json")["rows"]}
    shares = ("crops", "images", "recall", "overlap")
    return table(
        "scoring | evaluations | crops | images | recall | overlap | pointing game, %",
        (
            [
                name.replace("the change", "the prediction shift"),
                rows[name]["evaluations"],
                *(f"{rows[name][s]:.2f}" for s in shares),
                rows[name]["localisation"]["pointing_game"],
            ]
            for name in LEVERS
        ),
    )


def million() -> str:
    """A table of ImageNet's size, step by step."""
    found = load("scoring_cost/million.json")
    steps = {
        "plan": "index, candidates, shards",
        "score": "scores by a prior that costs nothing",
        "select": "order by channel statistics",
        "cluster": "order by clusters",
    }
    return table(
        "step | seconds | peak memory, GiB",
        ([text, found[name]["seconds"], found[name]["peak_gib"]] for name, text in steps.items()),
    )


def speed() -> str:
    """Images per second of the scoring stage."""
    return table(
        "scoring | images per second | ratio",
        ([r["variant"], r["images_per_second"], r["ratio"]] for r in load("scoring_speed/results.json")["rows"]),
    )


def decoding() -> str:
    """Decoders and filters."""
    small, large = load("decoding/results.json")["rows"].values()
    return table(
        "way | 500 x 375: ratio | 4000 x 3000: ratio | mean difference, of 255",
        ([name, small[name]["ratio"], row["ratio"], row["mean_difference"]] for name, row in large.items()),
    )


def indexing() -> str:
    """100,000 files."""
    of = load("indexing/results.json")["indexing"]
    rows = {
        "first index": f"{of['seconds']} s, {of['files_per_second']} files per second",
        "index after 10 files changed": f"{of['again_seconds']} s",
        "check whether any file changed": f"{of['signature_seconds']} s",
        "memory per file": f"{of['bytes_per_row_in_memory']} bytes",
    }
    return table("100,000 JPEGs of 48 pixels | ", rows.items())


def loading() -> str:
    """The data path of scoring."""
    rows = load("indexing/results.json")["loading"]
    return table("reading processes | bare loop, images per second | data path | ratio", (r.values() for r in rows))


def students() -> str:
    """Epochs per second against a plain loop."""
    rows = []
    for row in load("student_speed/results.json")["rows"]:
        rate, ratio = row["epochs_per_second"], row["ratios"]
        told = [f"{value:.2f}" for value in rate.values()]
        rows.append(
            [
                row["student"],
                *told,
                *(ratio[f"ours, {of}"]["median"] for of in ("default / plain", "default / plain, bf16")),
            ]
        )
    return table(
        "student | ours, bf16 | ours, fp32 | plain, fp32 | plain, bf16 | ours / plain | ours / plain, bf16", rows
    )


def processor() -> str:
    """Full-size models on a processor."""
    rows = load("full_size/results.json")["rows"]
    names = ("backbone", "scoring_seconds", "whole_run_seconds", "peak_memory_gib")
    return table(
        "prior | scoring of 2 images, seconds | whole run, seconds | peak memory, GiB",
        ([r[n] for n in names] for r in rows),
    )


def gpu() -> str:
    """Full-size models on a GPU."""
    rows = load("full_size/gpu.json")["scoring"]
    names = ("backbone", "images_per_second", "gpu_peak_gib")
    return table("prior | photographs per second | peak of GPU memory, GiB", ([r[n] for n in names] for r in rows))


def photographs() -> str:
    """The commands for one's own photographs."""
    rows = load("photographs/results.json")["rows"]
    return table("command | seconds", ([f"`{r['command']}`", r["seconds"]] for r in rows))


def lookalike() -> str:
    """1000 classes through every stage."""
    found = load("imagenet_lookalike/results.json")
    return table("stage | seconds", [*found["stages"].items(), ["whole run", found["seconds"]]])


def plan() -> str:
    """ImageNet on H100s."""
    told = {"reference": "reference: 100 draws at 512 px", "ours": "4 draws at 256 px, at most 300 images of a class"}
    rows = [
        [
            dataset,
            text,
            f"{of[name]['candidates']:,}",
            f"{of[name]['exaflop']:.2f}",
            of[name]["hours_1_gpu"],
            of[name]["gib_kept"],
        ]
        for dataset, of in load("scale_plan/plan.json")["plans"].items()
        for name, text in told.items()
    ]
    return table("dataset | scoring | images | 10^18 FLOP | hours, 1 H100 | GiB kept", rows)


def stored_labels() -> str:
    """What labels of 300 epochs take."""
    rows = [
        [name, *label.values()] for name, of in load("scale_plan/plan.json")["plans"].items() for label in of["labels"]
    ]
    return table("dataset | IPC | logits, GiB | features, GiB", rows)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"cifar10 and published": front},
    "experiments/real/README.md": {"tables": study, "ways": ways},
    "experiments/rivals/README.md": {
        "soft": lambda: rivals("digits"),
        "rded": lambda: rivals("rded"),
        "class": lambda: rivals("digits_hard"),
    },
    "experiments/embedded_default/README.md": {"selections": embedded},
    "experiments/second_dataset/README.md": {
        "soft 10": lambda: second("digits_ipc10"),
        "soft 50": lambda: second("digits_ipc50"),
        "class 10": lambda: second("digits_hard_ipc10"),
    },
    "experiments/ablations/README.md": {
        "crops": lambda: ablation("crop_scale"),
        "draws": lambda: ablation("draws"),
        "prompt": lambda: ablation("prompt"),
        "factor": lambda: ablation("soft_factor"),
    },
    "experiments/prompt_modes/README.md": {"modes": prompts},
    "experiments/adaptation/README.md": {"priors": adaptation},
    "experiments/cross_architecture/README.md": {"students": architectures},
    "experiments/scoring_cost/README.md": {"levers": levers, "million": million},
    "experiments/scoring_speed/README.md": {"speed": speed},
    "experiments/student_speed/README.md": {"students": students},
    "experiments/decoding/README.md": {"ways": decoding},
    "experiments/indexing/README.md": {"indexing": indexing, "loading": loading},
    "experiments/full_size/README.md": {"processor": processor, "gpu": gpu},
    "experiments/photographs/README.md": {"commands": photographs},
    "experiments/imagenet_lookalike/README.md": {"stages": lookalike},
    "experiments/scale_plan/README.md": {"plan": plan, "labels": stored_labels},
}


def between(page: str, name: str, text: str) -> str:
    """A page with a text between the markers of a name.

    Raises:
        ValueError: The page has no such markers.
    """
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if first not in page or last not in page:
        raise ValueError(f"no place for the table {name}")
    return re.sub(f"{first}.*?{last}", lambda _: f"{first}\n{text}\n{last}", page, flags=re.DOTALL)


def made(page: str) -> str:
    """A page's text with its tables as the files have them."""
    text = (ROOT / page).read_text()
    for name, make in TABLES[page].items():
        text = between(text, name, make())
    return text


def main() -> None:
    """The command."""
    if sys.argv[1:] and "--write" not in sys.argv:
        print(study(Path(sys.argv[1])))
        return
    other = [page for page in TABLES if made(page) != (ROOT / page).read_text()]
    for page in other:
        if "--write" in sys.argv:
            (ROOT / page).write_text(made(page))
        print(f"{page}: {'written' if '--write' in sys.argv else 'a table is not as its files have it'}")
    sys.exit(bool(other) and "--write" not in sys.argv)


if __name__ == "__main__":
    main()

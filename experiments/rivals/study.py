"""All selections under one protocol at IPC 1, 10 and 50: runs what is missing, then writes the tables and the plot.

    python experiments/rivals/study.py [IPC ...] [protocol=digits_hard|rded] [override ...]

The runs of ``run.py`` that an IPC takes, one for each pool, are printed; what the store holds is not computed again.
Writes <protocol>_ipc<IPC>.json (the results, without what differs from machine to machine) and, from all that are
there, a plot for each protocol beside this file; prints their tables. Overrides, such as trainer.students=2, say how it
is run.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

HERE = Path(__file__).parent
SEED, SEEDS = 37, [0, 1, 2, 3, 4]  # of the scenes, which no choice was made on; of selection and student
KEPT = ("selection", "composition", "pool", "ipc", "protocol", "student", "seed", "top1_last", "top1_best", "quality")
EXTRA = ("test_images", "training_images", "steps", "batch_size", "localisation")
UNIT = {1: 0.0, 10: 0.0, 50: 1.0}  # share of whole images that composition=auto gives ddselect
PROTOCOLS = ("digits", "digits_hard", "rded")
SOFT = ("digits", "rded")  # those in which a teacher labels
FAR, SPREADS = 8, 4  # points, or spreads, behind the best, beyond which the few that are there stand at a plot's edge
CORESETS = ("herding", "kcenter", "moderate", "ccs")
OF_CROPS = ("random_crop", "rded_published", "rded")  # in their own composition; the coresets take whole images
POOLS = {"real": "", "generated": " pool=generated", "both": " pool=mixed", "prototypes": " pool=prototypes"}


def arm(name: str, **settings: float | bool | str) -> str:
    """A selection as ``compare`` takes it, with settings other than its own, such as another composition."""
    chosen = ",".join(f"{key}:{str(value).lower()}" for key, value in settings.items())
    return f"{{{name}:{{{chosen}}}}}"


def rivals(ipc: int, protocol: str) -> list[str]:
    """What ``compare`` is: every rival in its own composition and, where that is another, in that of ``ddselect``.

    RDED is there with each share of whole images too. With soft labels ``ddselect`` mixes the classes of stitched
    images, and so do all rivals; the same without mixing is there as well. Its whole images are picked by k-center
    under soft labels; beside it they are picked by channel statistics, as with class labels.
    """
    whole = UNIT[ipc]
    arms = [arm("ddselect", image_pick="channel_stats")] if protocol in SOFT and whole else []
    arms += ["random_image", *OF_CROPS, *CORESETS, "{rded:{area:[0.08,1.0]}}"]  # the last as published, not padded
    arms += [arm("rded", whole=share) for share in (0.5, 1.0) if share * ipc >= 1]
    if whole < 1:
        arms += [arm(name, whole=whole) for name in CORESETS]
    mixed = {"mix_classes": True} if protocol in SOFT and whole < 1 else {}
    if mixed:
        arms += [arm(name, whole=whole, **mixed) for name in (*CORESETS, *OF_CROPS)]
        arms += [arm("rded", whole=0.5, **mixed)] if ipc > 1 else []
        arms += [arm("clusters", whole=whole)]
    arms += [arm(name, whole=whole, **mixed) for name in ("clusters", "top_score")]
    return [*arms, "all"]


def commands(ipc: int, protocol: str) -> list[list[str]]:
    """The runs of one IPC: of real images, then those whose candidates the prior makes."""
    seeds = f"seeds={SEEDS}".replace(" ", "")
    common = ["run.py", f"dataset.seed={SEED}", f"protocol={protocol}", f"ipc={ipc}", seeds, "composition=auto"]
    generated = {
        "generated": ["selection=random_image", "compare=[ddselect,rded]"],
        "prototypes": ["selection=random_image", "compare=[]"],
        "mixed": ["compare=[rded]"],
    }
    return [
        [*common, f"compare=[{','.join(rivals(ipc, protocol))}]"],
        *([*common, f"pool={pool}", *arms] for pool, arms in generated.items()),
    ]


def freeze(ipc: int, protocol: str, more: list[str]) -> None:
    """Runs an IPC and keeps its results, after each run those so far."""
    entries: list[dict[str, Any]] = []
    frozen: dict[str, Any] = {"commands": []}
    for line in commands(ipc, protocol):
        print(" ".join(["python", *(f"'{word}'" if "{" in word else word for word in line)]), flush=True)
        done = subprocess.run(
            [sys.executable, *line, *more], cwd=HERE.parents[1], stdout=subprocess.PIPE, text=True, check=True
        )
        path = Path(done.stdout.rsplit("results: ", 1)[1].strip())
        found = json.loads((HERE.parents[1] / path).read_text())
        if not entries:
            frozen |= {"teacher_top1": found["teacher"].get("top1"), "localisation": found["localisation"]}
        frozen["commands"].append(line)
        entries += [{key: entry[key] for key in KEPT + EXTRA if key in entry} for entry in found["results"]]
        text = json.dumps({**frozen, "results": entries}, indent=1)
        (HERE / f"{protocol}_ipc{ipc}.json").write_text(text + "\n")


def title(entry: dict[str, Any]) -> str:
    """A selection, and what it selects from where that is not the training images."""
    name: str = entry["selection"]
    return name if entry["pool"] == "real" else f"{name} pool={entry['pool']}"


def accuracies(results: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Top-1 in percent by selection and seed, ``ddselect`` first."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for entry in results:
        found[title(entry)][entry["seed"]] = entry["top1_last"]
    return found


def paired(ours: dict[int, float], theirs: dict[int, float]) -> tuple[float, float]:
    """Mean and standard error of the difference over the seeds."""
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours)]
    return mean(differences), stdev(differences) / len(differences) ** 0.5


def lines(results: list[dict[str, Any]]) -> list[str]:
    """A table's rows: selection, composition, accuracy, and what ddselect is ahead by."""
    from ddselect.evaluation.results import composition_text

    found, rows = accuracies(results), []
    unit = {title(entry): composition_text(**entry["composition"]) for entry in results}
    ours = next(iter(found.values()))
    for name, by_seed in found.items():
        values = list(by_seed.values())
        row = f"| {name} | {unit[name]} | {mean(values):.1f} ± {stdev(values):.1f} |"
        if by_seed is ours or name == "all":
            rows.append(f"{row} | |")
            continue
        difference, error = paired(ours, by_seed)
        ahead = sum(ours[seed] > by_seed[seed] for seed in ours)
        rows.append(f"{row} {difference:+.1f} ± {error:.1f} | {ahead} of {len(ours)} |")
    return rows


def contents(results: list[dict[str, Any]]) -> list[str]:
    """A table of what the distilled sets hold: their quality, and how much of the true boxes their crops cover."""
    from ddselect.report.quality import quality_lines

    measured = quality_lines([{**entry, "selection": title(entry)} for entry in results])
    head = [f"| selection | {' | '.join(measured.headings)} |", "|---" * (1 + len(measured.headings)) + "|"]
    return [*head, *(f"| {name} | {' | '.join(values)} |" for name, values in measured.lines)]


def by_pool() -> list[str]:
    """A table of what the candidates are, real or made by the prior, against who selects among them."""
    rows = ["| IPC, labels | candidates | random images | RDED, crops | ddselect |", "|---|---|---|---|---|"]
    for protocol in PROTOCOLS:
        for ipc, results in read(protocol).items():
            found = accuracies(results)
            if not any(" pool=" in name for name in found):
                continue
            for name, pool in POOLS.items():
                values = [list(found.get(who + pool, {}).values()) for who in ("random_image", "rded", "ddselect")]
                cells = [f"{mean(top1):.1f} ± {stdev(top1):.1f}" if top1 else "-" for top1 in values]
                rows.append(f"| {ipc}, {'soft' if protocol in SOFT else 'class'} | {name} | {' | '.join(cells)} |")
    return rows


def draw(frozen: dict[int, list[dict[str, Any]]], protocol: str) -> None:
    """Accuracy by selection, one panel for each IPC, best first: mean, spread, each seed; those far behind in words."""
    import matplotlib.pyplot as plt

    rows = max(len(accuracies(results)) for results in frozen.values())
    size = (2.4 + 5.2 * len(frozen), max(7.2, 1.4 + 0.18 * rows))
    figure, panels = plt.subplots(1, len(frozen), figsize=size, squeeze=False)
    for panel, (ipc, results) in zip(panels[0], sorted(frozen.items()), strict=True):
        found = accuracies(results)
        ours, ceiling = next(iter(found)), found.pop("all")
        order = sorted(found, key=lambda name: mean(found[name].values()))
        far_behind = max(FAR, SPREADS * median(stdev(values.values()) for values in found.values()))
        edge = mean(found[order[-1]].values()) - far_behind
        if mean(found[order[len(order) // 2]].values()) < edge:
            edge = 0.0  # most are far behind: the axis shows them all
        near = [name for name in order if mean(found[name].values()) > edge]
        best = max(max(found[name].values()) for name in near)
        left = min(min(found[name].values()) for name in near) - 0.5
        for place, name in enumerate(order):
            values, colour = list(found[name].values()), colour_of(name, ours)
            if name not in near:
                far = f" \u25c2 {mean(values):.1f} \u00b1 {stdev(values):.1f}"
                panel.text(left, place, far, color=colour, fontsize=8, va="center")
                continue
            panel.plot(values, [place] * len(values), "o", color=colour, alpha=0.3, markersize=4, markeredgewidth=0)
            panel.errorbar(mean(values), place, xerr=stdev(values), fmt="o", color=colour, markersize=6, capsize=3)
        limit = mean(ceiling.values())
        if limit < best + far_behind:
            panel.axvline(limit, color="#0f766e", linestyle="--", linewidth=1.2)
        else:
            beyond = f"all training scenes: {limit:.1f} \u25b8"
            panel.text(0.99, 0.02, beyond, color="#0f766e", fontsize=9, ha="right", transform=panel.transAxes)
        panel.set_yticks(range(len(order)), order, fontsize=8)
        panel.set_ylim(-0.7, len(order) - 0.3)
        panel.set_xlim(left, None)
        panel.set_title(f"IPC {ipc}", fontsize=11)
        panel.set_xlabel("top-1 on the test scenes, %")
        panel.grid(axis="x", alpha=0.25)
        for label in panel.get_yticklabels():
            label.set_color(colour_of(label.get_text(), ours))
            label.set_fontweight("bold" if label.get_text() == ours else "normal")
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
    told = f"protocol {protocol}: mean, spread and every seed; dashed: all training scenes"
    if any(entry["pool"] != "real" for results in frozen.values() for entry in results):
        told += "; violet: the prior's images are candidates"
    figure.suptitle(told, fontsize=10)
    figure.tight_layout()
    figure.savefig(HERE / f"{protocol}.png", dpi=110)


def colour_of(name: str, ours: str) -> str:
    """The method is orange, selections from what the prior made are violet, all others grey."""
    return "#c2410c" if name == ours else "#7c3aed" if " pool=" in name else "#475569"


def read(protocol: str) -> dict[int, list[dict[str, Any]]]:
    """The frozen results of a protocol by IPC."""
    files = {int(file.stem.rpartition("ipc")[2]): file for file in HERE.glob(f"{protocol}_ipc*.json")}
    return {ipc: renamed(json.loads(file.read_text())["results"]) for ipc, file in sorted(files.items())}


def renamed(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results with ``ddselect`` under its present name: files of version 0.x call it ``diffusion``."""
    if any(entry["selection"].startswith("ddselect") for entry in results):
        return results

    def now(name: str) -> str:
        if name.startswith("diffusion"):
            name = name.replace("diffusion", "ddselect", 1).replace("pick=style", "pick=channel_stats")
        return name

    return [{**entry, "selection": now(entry["selection"])} for entry in results]


def main(arguments: list[str]) -> None:
    """Runs the IPCs that were asked for, and writes what can be told from all frozen ones."""
    chosen = next((word.partition("=")[2] for word in arguments if word.startswith("protocol=")), PROTOCOLS[0])
    more = [word for word in arguments if "=" in word and not word.startswith("protocol=")]
    for ipc in [int(word) for word in arguments if word.isdigit()] or UNIT:
        freeze(ipc, chosen, more)
    for protocol in PROTOCOLS:
        frozen = read(protocol)
        for ipc, results in frozen.items():
            print(f"\n### IPC {ipc}, protocol {protocol}\n", *HEAD, *lines(results), sep="\n")
            print("", *contents(results), sep="\n")
        if frozen:
            draw(frozen, protocol)
    print("", *by_pool(), sep="\n")


HEAD = ("| selection | distilled images | top-1 % | ddselect ahead by | in seeds |", "|---|---|---|---|---|")

if __name__ == "__main__":
    main(sys.argv[1:])

"""Trains the prior in the package for CIFAR-10: `python experiments/real/prior.py <folder> <new folder>`.

First the way down and the middle of the UNet learn to recognise the class of a noisy image. Then all of it learns to
denoise, and the loss under a class, as a share of the loss under no class, to say how much more likely that class makes
the image: log p(class | image) / p(class) as the middle recognises it. A tenth of the training images (those whose
names end in 0) is never trained on. An interrupted training goes on from its last 500 steps.
"""

import argparse
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from PIL import Image
from torch import Tensor, nn

from ddselect.backbone import blueprint
from ddselect.dataset.classes import class_list
from ddselect.runtime.files import read_json, write_json
from ddselect.runtime.hardware import computes_in_bf16
from ddselect.runtime.seeds import torch_generator

SHAPE = blueprint.Shape(image_size=32, channels=(24, 64, 96), patch=2, seed=0)
CLASSES, TIMESTEPS = class_list("cifar10"), 1000
NULL = len(CLASSES)
GAIN = 50.0  # nats of class information for a loss that is lower by its own size
CLIP = 4.0  # nats that are asked for at most
KEEP_EVERY = 500


@dataclass(frozen=True)
class Images:
    """Training images (N, 3, 32, 32) uint8 with labels (N,), and those held out."""

    images: Tensor
    labels: Tensor
    held_images: Tensor
    held_labels: Tensor


def read(root: Path) -> Images:
    """The class folders of ``<root>/train``."""
    files = [(file, label) for label, name in enumerate(CLASSES) for file in sorted((root / "train" / name).iterdir())]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file, _ in files])
    images, labels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor([c for _, c in files])
    held = torch.tensor([file.stem.endswith("0") for file, _ in files])
    return Images(images[~held], labels[~held], images[held], labels[held])


class _MiddleReachedError(Exception):
    """Ends a forward pass."""


class Learner(nn.Module):
    """The UNet, and a linear head on its middle that recognises the class."""

    def __init__(self, folder: Path, channels: Sequence[int], device: torch.device) -> None:
        super().__init__()
        blueprint.write_class_unet(folder, CLASSES, replace(SHAPE, channels=(*channels,)))
        self.unet = UNet2DModel.from_pretrained(folder / "unet")
        self.head = nn.Linear(channels[-1], len(CLASSES))
        steps = torch.arange(TIMESTEPS + 1) / TIMESTEPS
        kept = torch.cos((steps + 0.008) / 1.008 * math.pi / 2) ** 2  # the scheduler's cosine
        self.register_buffer("signal", (1 - (1 - kept[1:] / kept[:-1]).clamp(max=0.999)).cumprod(0).sqrt())
        self._middle: list[Tensor] = []
        self._ends_there = False
        self.unet.mid_block.register_forward_hook(self._keep)
        self.device, self._half = device, device.type == "cuda" or computes_in_bf16()
        self.to(device)

    def _keep(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._middle = [output]
        if self._ends_there:
            raise _MiddleReachedError

    def losses(self, clean: Tensor, noise: Tensor, timesteps: Tensor, conditions: Tensor) -> Tensor:
        """(N,) mean squared errors of the predicted noise."""
        signal = self.signal[timesteps].view(-1, 1, 1, 1)
        noisy = signal * clean + (1 - signal**2).sqrt() * noise
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            predicted = self.unet(noisy, timesteps, class_labels=conditions).sample
        return (predicted.float() - noise).pow(2).mean((1, 2, 3))

    def recognised(self) -> Tensor:
        """(N, 10) logits of the classes, from the middle of the latest :meth:`losses`."""
        return self.head(self._middle[-1].float().mean((2, 3)))

    def recognise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """(N, 10) logits of the classes of noisy images; the way up is not gone."""
        self._ends_there = True
        with suppress(_MiddleReachedError):
            self.losses(clean, noise, timesteps, torch.full_like(timesteps, NULL))
        self._ends_there = False
        return self.recognised()


def folded(images: Tensor) -> Tensor:
    """(N, 3, 32, 32) uint8 as what the UNet denoises: (N, 12, 16, 16) in [-1, 1]."""
    return F.pixel_unshuffle(images.float() / 127.5 - 1, SHAPE.patch)


def batches(data: Images, size: int, phase: str, first: int, shift: int) -> Iterator[tuple[Tensor, ...]]:
    """Clean images, labels, noise and timesteps of a step, a function of its number alone."""
    for step in range(first, 10**9):
        generator = torch_generator(phase, step)
        rows = torch.randint(len(data.images), (size,), generator=generator)
        mirrored = torch.rand(size, generator=generator) < 0.5
        images = data.images[rows]
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        if shift:
            padded = F.pad(images.float(), (shift,) * 4, mode="reflect")
            corners = torch.randint(2 * shift + 1, (size, 2), generator=generator).tolist()
            images = torch.stack([one[:, y : y + 32, x : x + 32] for one, (y, x) in zip(padded, corners, strict=True)])
        clean = folded(images)
        noise = torch.randn(clean.shape, generator=generator)
        even = (torch.rand(1, generator=generator) + torch.arange(size) / size) % 1
        # logit-normal: most between a tenth and two thirds of the schedule, where classes show
        shares = torch.sigmoid(-0.6 + 0.8 * torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4)))
        timesteps = (shares * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)[torch.randperm(size, generator=generator)]
        yield clean, data.labels[rows], noise, timesteps


def recognition_loss(learner: Learner, batch: tuple[Tensor, ...], step: int) -> Tensor:
    """Cross-entropy of the class that the middle recognises without being told one."""
    clean, labels, noise, timesteps = batch
    return F.cross_entropy(learner.recognise(clean, noise, timesteps), labels)


def joint_loss(learner: Learner, batch: tuple[Tensor, ...], step: int) -> Tensor:
    """Denoising under the class and under none, recognition, and what the losses of two classes say about it."""
    clean, labels, noise, timesteps = batch
    null = learner.losses(clean, noise, timesteps, torch.full_like(labels, NULL))
    logits = learner.recognised()
    known = logits.detach()
    uniform = torch.rand(known.shape, generator=torch_generator("other", step)).to(known.device)
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
    other = (0.5 * known + gumbel).scatter(1, labels[:, None], -1e9).argmax(1)  # likely mistakes more often
    own, wrong = learner.losses(*(part.repeat(2, *[1] * (part.dim() - 1)) for part in (clean, noise, timesteps)),
                                torch.cat([labels, other])).chunk(2)  # fmt: skip
    information = (known.log_softmax(1) + math.log(len(CLASSES))).clamp(-CLIP, CLIP)
    asked = [information.gather(1, which[:, None])[:, 0] for which in (labels, other)]
    scale = GAIN / null.detach()
    said = [scale * (null - own), scale * (null - wrong)]
    pairs = [*zip(said, asked, strict=True), (said[0] - said[1], asked[0] - asked[1])]
    told = sum(F.binary_cross_entropy_with_logits(one, torch.sigmoid(target)).mean() for one, target in pairs)
    weights = (1 / learner.signal[timesteps].pow(2)).clamp(max=20)
    denoising = (weights * (0.7 * own + 0.3 * null)).mean()
    return denoising / denoising.detach() + 0.1 * told + 0.3 * F.cross_entropy(logits, labels)


PHASES = {  # loss, steps, images, learning rate, weight decay, shift in pixels
    "recognition": (recognition_loss, 12800, 128, 2e-3, 0.05, 2),
    "joint": (joint_loss, 3200, 64, 1e-3, 1e-3, 0),
}


def train(learner: Learner, data: Images, phase: str, steps: int, kept: Path) -> None:
    """A phase of the training; ends with the moving average of the weights."""
    loss_of, _, size, rate, decay, shift = PHASES[phase]
    optimizer = torch.optim.AdamW(learner.parameters(), rate, weight_decay=decay)
    average, first = [p.detach().clone() for p in learner.parameters()], 0
    if kept.exists():
        state = torch.load(kept, weights_only=True, map_location=learner.device)
        if [*PHASES].index(state["phase"]) > [*PHASES].index(phase):
            return
        if state["phase"] == phase:
            learner.load_state_dict(state["learner"])
            optimizer.load_state_dict(state["optimizer"])
            average, first = state["average"], state["step"]
    start, losses = time.monotonic(), []
    for step, batch in zip(range(first, steps), batches(data, size, phase, first, shift), strict=False):
        left = 1 - step / steps
        factor = 0.5 - 0.5 * math.cos(math.pi * left) if phase == "recognition" else min(1.0, left / 0.6)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * factor
        loss = loss_of(learner, tuple(part.to(learner.device) for part in batch), step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        torch._foreach_lerp_(
            average, [p.detach() for p in learner.parameters()], 1 - min(0.998, (2 + step) / (21 + step))
        )
        losses.append(float(loss.detach()))
        if (step + 1) % KEEP_EVERY == 0 or step + 1 == steps:
            state = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            torch.save({**state, "phase": phase, "step": step + 1}, kept.with_suffix(".part"))
            kept.with_suffix(".part").replace(kept)
            rest = (steps - step - 1) * (time.monotonic() - start) / (step + 1 - first)
            print(
                f"{phase}: {step + 1}/{steps} steps, loss {np.mean(losses):.4f}, {rest / 60:.0f} min left", flush=True
            )
            losses = []
    for parameter, mean in zip(learner.parameters(), average, strict=True):
        parameter.data.copy_(mean)


@torch.inference_mode()
def as_classifier(learner: Learner, data: Images, count: int = 2000, draws: int = 4) -> float:
    """Share in percent of held-out images whose loss is lowest under their own class, of ten, in shares .1 to .5."""
    rows, correct = torch.arange(len(data.held_images))[:: max(1, len(data.held_images) // count)][:count], 0
    for chunk in rows.split(50):
        clean = folded(data.held_images[chunk]).repeat_interleave(NULL, 0)
        total = torch.zeros(len(clean))
        for draw in range(draws):
            generator = torch_generator("check", int(chunk[0]), draw // 2)
            noise = (1 - 2 * (draw % 2)) * torch.randn(len(chunk), *clean.shape[1:], generator=generator)
            shares = 0.1 + 0.4 * (draw // 2 + torch.rand(len(chunk), generator=generator)) / (draws // 2)
            timesteps = (shares * TIMESTEPS).long().repeat_interleave(NULL)
            parts = (clean, noise.repeat_interleave(NULL, 0), timesteps, torch.arange(NULL).repeat(len(chunk)))
            total += learner.losses(*(part.to(learner.device) for part in parts)).cpu()
        correct += int((total.view(-1, NULL).argmin(1) == data.held_labels[chunk]).sum())
    return 100 * correct / len(rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder with train/<class>/*")
    parser.add_argument("folder", type=Path, help="where the prior is written, in the layout of diffusers")
    parser.add_argument("--steps", type=int, nargs=2, default=[steps for _, steps, *_ in PHASES.values()])
    parser.add_argument("--channels", type=int, nargs=3, default=SHAPE.channels, help="of the UNet's levels")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, learner = read(arguments.root), Learner(arguments.folder, arguments.channels, arguments.device)
    for (phase, _), steps in zip(PHASES.items(), arguments.steps, strict=True):
        train(learner, data, phase, steps, arguments.folder / "training.pt")
    shutil.rmtree(arguments.folder / "unet")
    learner.unet.eval()
    print(f"lowest loss under the own class: {as_classifier(learner, data):.1f} % of at most 2000 held-out images")
    learner.unet.half().cpu().save_pretrained(arguments.folder / "unet")
    config = read_json(arguments.folder / "unet" / "config.json")
    config.pop("_name_or_path")  # where it was trained
    write_json(arguments.folder / "unet" / "config.json", config)


if __name__ == "__main__":
    main()

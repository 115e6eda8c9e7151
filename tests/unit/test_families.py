"""Every family of priors under every prompt mode against METHOD, section 1, written out; and what each refuses."""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DiTTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
)
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, PreTrainedModel, T5EncoderModel

from ddselect.backbone.denoiser import Denoiser
from ddselect.backbone.latents import VAESpace
from ddselect.prompt.modes import LabelPromptConfig, NoPromptConfig, PromptConfig, TextPromptConfig
from ddselect.runtime.errors import UserError
from ddselect.scoring.draws import Draws
from ddselect.scoring.scorer import difference_maps
from tests.helpers.families import BEGIN, CLASSES, END, TEXT, UNCONDITIONAL, Family

CPU = torch.device("cpu")
ALL = {**TEXT, **CLASSES, **UNCONDITIONAL}
NAMES, FOLDERS = ["ant", "bee", "cow"], ["n02219486", "n02206856", "n01667114"]
IMAGENET = [310, 309, 35]  # what these WordNet IDs are for a DiT; the last is a turtle
HASHES = ["0a", "1b", "2c"]
DRAWS = Draws(4, True, (0.2, 0.8), 0)
Condition = list[str] | int | None  # texts averaged in embedding space, a class, or nothing
Network = Callable[[Tensor, int, Condition], Tensor]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's model, written when it is first asked for."""
    root = tmp_path_factory.mktemp("families")
    return lambda name: root / name if (root / name).exists() else ALL[name].write(root / name)


def random_images(side: int) -> Tensor:
    return torch.randint(0, 256, (3, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


# --- the formula ------------------------------------------------------------------------------------------------------


def clip_ids(folder: Path, text: str) -> Tensor:
    """(1, 77) numbers of a text whose words are all in the vocabulary."""
    vocabulary = json.loads((folder / "vocab.json").read_text())
    pad = vocabulary[json.loads((folder / "special_tokens_map.json").read_text())["pad_token"]]
    ids = [vocabulary[BEGIN], *(vocabulary[f"{word}</w>"] for word in text.lower().split()), vocabulary[END]]
    return torch.tensor([ids + [pad] * (77 - len(ids))])


def t5_ids(folder: Path, text: str) -> Tensor:
    """(1, 256) numbers of a text whose words are all in the vocabulary: words, </s>, <pad>."""
    pieces = [piece for piece, _ in json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]]
    ids = [*(pieces.index(f"▁{word}") for word in text.split()), 1]
    return torch.tensor([ids + [0] * (256 - len(ids))])


def encode(name: str, folder: Path, text: str) -> dict[str, Tensor]:
    """What the network of a family attends to for one text."""
    ids = clip_ids(folder / "tokenizer", text)
    if name in ("sd15", "sd21"):
        return {"context": CLIPTextModel.from_pretrained(folder / "text_encoder")(ids).last_hidden_state}
    kind = CLIPTextModel if name == "sdxl" else CLIPTextModelWithProjection
    first = kind.from_pretrained(folder / "text_encoder")(ids, output_hidden_states=True)
    second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2")(
        clip_ids(folder / "tokenizer_2", text), output_hidden_states=True
    )
    context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
    if name == "sdxl":
        keep = float(text != "")  # force_zeros_for_empty_prompt
        return {"context": keep * context, "pooled": keep * second.text_embeds}
    wide = torch.zeros(1, 77, 64)
    wide[:, :, : 16 + 32] = context
    states = torch.zeros(1, 256, 64)
    if name == "sd3":
        encoder = T5EncoderModel.from_pretrained(folder / "text_encoder_3")
        states = encoder(t5_ids(folder / "tokenizer_3", text)).last_hidden_state
    pooled = torch.cat([first.text_embeds, second.text_embeds], -1)
    return {"context": torch.cat([wide, states], 1), "pooled": pooled}


def averaged(name: str, folder: Path, texts: Sequence[str]) -> dict[str, Tensor]:
    rows = [encode(name, folder, text) for text in texts]
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


def plain_network(name: str, folder: Path) -> Network:
    """What the raw network of a family says about one latent (C, h, w) at a step of its schedule."""
    if name in CLASSES or name in UNCONDITIONAL:
        if name == "dit":
            dit = DiTTransformer2DModel.from_pretrained(folder / "transformer").eval()
            return lambda z, t, c: dit(z[None], torch.tensor([t]), torch.tensor([c])).sample[0, :4]
        unet = UNet2DModel.from_pretrained(folder / "unet" if (folder / "unet").exists() else folder).float().eval()
        return lambda z, t, c: unet(z[None], t, class_labels=None if c is None else torch.tensor([c])).sample[0]
    known: dict[tuple[str, ...], dict[str, Tensor]] = {}

    def rows(texts: Condition) -> dict[str, Tensor]:
        assert isinstance(texts, list)
        if tuple(texts) not in known:
            known[tuple(texts)] = averaged(name, folder, texts)
        return known[tuple(texts)]

    if name.startswith("sd3"):
        transformer = SD3Transformer2DModel.from_pretrained(folder / "transformer").eval()

        def flow(z: Tensor, t: int, c: Condition) -> Tensor:
            context, pooled = rows(c)["context"], rows(c)["pooled"]
            time = torch.tensor([1000 * shifted(t)], dtype=torch.float32)
            return transformer(z[None], context, pooled, time).sample[0]

        return flow
    sd = UNet2DConditionModel.from_pretrained(folder / "unet").eval()

    def diffusion(z: Tensor, t: int, c: Condition) -> Tensor:
        added = None
        if name == "sdxl":  # original size, crop, target size
            added = {"text_embeds": rows(c)["pooled"], "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]])}
        return sd(z[None], t, rows(c)["context"], added_cond_kwargs=added).sample[0]

    return diffusion


def shifted(t: int) -> float:
    """Sigma of a step of the flow, 0 the least noisy: shift 3 of (t + 1) / 1000."""
    sigma = (t + 1) / 1000
    return 3 * sigma / (1 + 2 * sigma)


def alpha_bars(config: dict[str, Any]) -> np.ndarray:
    """Products of 1 - beta of a diffusion."""
    kind, low, high = config["beta_schedule"], config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    if kind == "linear":
        betas = np.linspace(low, high, 1000)
    elif kind == "scaled_linear":
        betas = np.linspace(low**0.5, high**0.5, 1000) ** 2
    else:
        assert kind == "squaredcos_cap_v2"
        left = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - left[1:] / left[:-1], 0.999)
    return np.cumprod(1 - betas)


def plain_latents(name: str, folder: Path, images: Tensor) -> np.ndarray:
    pixels = images.float() / 127.5 - 1
    if name in UNCONDITIONAL:
        return pixels.double().numpy()
    if name == "class_unet":  # two pixels per side become channels
        cells = pixels.view(len(images), 3, images.shape[2] // 2, 2, images.shape[3] // 2, 2)
        return cells.permute(0, 1, 3, 5, 2, 4).flatten(1, 3).double().numpy()
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    shift, scale = (0.0609, 1.5305) if name.startswith("sd3") else (0, 0.13025 if name == "sdxl" else 0.18215)
    return ((vae.encode(pixels).latent_dist.mean - shift) * scale).double().numpy()


@torch.no_grad()
def plain_maps(
    name: str, folder: Path, images: Tensor, positive: Sequence[Condition], reference: Condition, with_reference: bool
) -> np.ndarray:
    """D(x | y): difference of losses, mean over channels, mean over draws."""
    file = folder / "scheduler" / "scheduler_config.json"
    bars = None
    if not name.startswith("sd3"):
        bars = alpha_bars(json.loads((file if file.exists() else folder / file.name).read_text()))
    network, maps = plain_network(name, folder), []
    for z0, image_hash, condition in zip(plain_latents(name, folder, images), HASHES, positive, strict=False):
        own, other = [], []
        for draw in range(DRAWS.count):
            t = int(DRAWS.timesteps([image_hash], 1000)[draw, 0])
            eps = DRAWS.noise([image_hash], draw, z0.shape)[0].double().numpy()
            if bars is None:
                alpha, sigma, target = 1 - shifted(t), shifted(t), eps - z0
            else:
                alpha, sigma = bars[t] ** 0.5, (1 - bars[t]) ** 0.5
                target = alpha * eps - sigma * z0 if name == "sd21" else eps
            noisy = torch.tensor(alpha * z0 + sigma * eps, dtype=torch.float32)
            for losses, words in ((own, condition), (other, reference)) if with_reference else ((own, condition),):
                losses.append(((network(noisy, t, words).double().numpy() - target) ** 2).mean(0))
        loss = np.mean(own, axis=0)
        maps.append(np.mean(other, axis=0) - loss if with_reference else loss - loss.mean())
    return np.stack(maps)


# --- what the scorer makes of it --------------------------------------------------------------------------------------


def scored(family: Family, folder: Path, prompt: PromptConfig, dtype: str = "fp32") -> tuple[Tensor, Denoiser]:
    """Difference maps of an image of each class, by the way that a run takes."""
    backbone = family.settings(folder, dtype=dtype)
    conditions = backbone.conditions(prompt, NAMES, FOLDERS, CPU)
    denoiser = backbone.load(CPU)
    denoiser.install(conditions.table)
    images, positive = random_images(family.image_size), torch.tensor(conditions.positive)
    return difference_maps(
        denoiser, denoiser.encode(images), HASHES, positive, conditions.reference, DRAWS
    ).difference, denoiser


def assert_is_formula(
    name: str,
    folder: Path,
    prompt: PromptConfig,
    positive: Sequence[Condition],
    reference: Condition,
    compared: bool = True,
) -> None:
    found, _ = scored(ALL[name], folder, prompt)
    wanted = plain_maps(name, folder, random_images(ALL[name].image_size), positive, reference, compared)
    assert np.abs(wanted).max() > 3e-3  # a model that hardly heeds its condition would prove nothing
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5, rtol=0)


SENTENCES = TextPromptConfig(["a photo of a {label}", "the {label} with six legs"], ["a photo", "the animal"])


@pytest.mark.parametrize("name", TEXT)
class TestTextFormula:
    """Families that are conditional on text."""

    def test_label_is_the_bare_name_against_the_empty_prompt(self, name: str, folders: Callable[[str], Path]) -> None:
        assert_is_formula(name, folders(name), LabelPromptConfig(), [[label] for label in NAMES], [""])

    def test_none_is_the_loss_under_the_empty_prompt(self, name: str, folders: Callable[[str], Path]) -> None:
        assert_is_formula(name, folders(name), NoPromptConfig(), [[""]] * 3, None, compared=False)

    def test_several_sentences_are_averaged_in_embedding_space(self, name: str, folders: Callable[[str], Path]) -> None:
        positive: list[Condition] = [[f"a photo of a {label}", f"the {label} with six legs"] for label in NAMES]
        assert_is_formula(name, folders(name), SENTENCES, positive, ["a photo", "the animal"])

    def test_text_without_label(self, name: str, folders: Callable[[str], Path]) -> None:
        prompt = TextPromptConfig(["the face of an animal"], [""])
        assert_is_formula(name, folders(name), prompt, [["the face of an animal"]] * 3, [""])


@pytest.mark.parametrize(("name", "classes", "null"), [("dit", IMAGENET, 1000), ("class_unet", [0, 1, 2], 3)])
class TestClassFormula:
    """Families that are conditional on classes."""

    def test_label_is_the_class_against_the_null_class(
        self, name: str, classes: list[int], null: int, folders: Callable[[str], Path]
    ) -> None:
        assert_is_formula(name, folders(name), LabelPromptConfig(), classes, null)

    def test_none_is_the_loss_under_the_null_class(
        self, name: str, classes: list[int], null: int, folders: Callable[[str], Path]
    ) -> None:
        assert_is_formula(name, folders(name), NoPromptConfig(), [null] * 3, None, compared=False)


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_an_unconditional_prior_has_its_loss_only(name: str, folders: Callable[[str], Path]) -> None:
    assert_is_formula(name, folders(name), NoPromptConfig(), [None] * 3, None, compared=False)


@pytest.mark.parametrize("name", TEXT)
def test_bf16_differs_by_its_rounding_only(name: str, folders: Callable[[str], Path]) -> None:
    exact, _ = scored(TEXT[name], folders(name), NoPromptConfig())
    rounded, denoiser = scored(TEXT[name], folders(name), NoPromptConfig(), "bf16")
    assert denoiser.dtype == next(denoiser.network.parameters()).dtype == torch.bfloat16
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()


# --- sentences --------------------------------------------------------------------------------------------------------

SAID = {"ant": ["an insect with six legs"], "bee": ["an insect that makes wax", "a {label}"], "cow": ["a cow"]}


def write_json(path: Path) -> Path:
    """By class name or folder; a sentence or a list of them."""
    path.write_text(json.dumps({"ant": SAID["ant"][0], FOLDERS[1]: SAID["bee"], "cow": SAID["cow"]}))
    return path


def write_csv(path: Path) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["class", "description"])
        rows.writerows([FOLDERS[1] if name == "bee" else name, text] for name in SAID for text in SAID[name])
    return path


@pytest.mark.parametrize(("write", "file"), [(write_json, "said.json"), (write_csv, "said.csv")])
def test_descriptions_of_each_class(
    write: Callable[[Path], Path], file: str, tmp_path: Path, folders: Callable[[str], Path]
) -> None:
    prompt = TextPromptConfig(reference=["an animal"], descriptions=str(write(tmp_path / file)))
    positive: list[Condition] = [SAID["ant"], ["an insect that makes wax", "a bee"], ["a cow"]]
    assert_is_formula("sd15", folders("sd15"), prompt, positive, ["an animal"])
    words = TEXT["sd15"].settings(folders("sd15")).conditions(prompt, NAMES, FOLDERS, CPU).words
    assert words == ["an insect with six legs", "an insect that makes wax | a bee", "a cow", "an animal"]


def test_a_class_without_description_is_refused(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    prompt = TextPromptConfig(descriptions=str(write_json(tmp_path / "said.json")))
    backbone = TEXT["sd15"].settings(folders("sd15"))
    with pytest.raises(UserError, match=r"said.json: no description of class 'dog' \(folder 'n1'\)"):
        backbone.check(prompt, ["ant", "dog"], ["ant", "n1"])


def test_each_text_is_embedded_once(folders: Callable[[str], Path]) -> None:
    """Classes that share a condition share its row."""
    conditions = TEXT["sd15"].settings(folders("sd15")).conditions(NoPromptConfig(), NAMES, FOLDERS, CPU)
    assert conditions.positive == [0, 0, 0]
    assert conditions.table["context"].shape == (1, 77, 16)


def test_many_classes_are_embedded_in_parts(folders: Callable[[str], Path]) -> None:
    """More texts than are encoded at once give the same rows."""
    backbone, names = TEXT["sdxl"].settings(folders("sdxl")), [f"a{'0' * n}" for n in range(40)]
    many = backbone.conditions(LabelPromptConfig(), names, names, CPU)
    one = backbone.conditions(LabelPromptConfig(), names[-1:], names[-1:], CPU)
    assert len(many.table["context"]) == 41
    for key in ("context", "pooled"):
        torch.testing.assert_close(many.table[key][many.positive[-1]], one.table[key][one.positive[0]])


@pytest.mark.parametrize("name", TEXT)
def test_a_prompt_that_is_too_long_is_cut_and_said(
    name: str, folders: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    backbone, start = TEXT[name].settings(folders(name)), " ".join(["ant"] * 75)
    prompt = TextPromptConfig([f"{start} {{label}}"], [start])
    conditions = backbone.conditions(prompt, ["bee"], ["bee"], CPU)
    err = capfd.readouterr().err
    assert f"prompt too long for tiny {TEXT[name].option}, its end is cut off: {start} bee" in err
    assert len(err.splitlines()) == 1, err  # the reference fits, and the libraries say nothing of their own
    assert conditions.shortened == [f"{start} bee"]
    context = conditions.table["context"][:, :77]
    torch.testing.assert_close(context[0], context[1])  # the encoders of images' pairs never see the label


DOGS = ["golden_retriever", "n02086240", "pug"]


@pytest.mark.parametrize(
    ("names", "prompt", "said"),
    [
        (DOGS, LabelPromptConfig(), ["'n02086240', a WordNet ID", "'golden_retriever', which no caption"]),
        (DOGS, SENTENCES, ["dataset.names=imagenet, or a file", "dataset.names=<file>"]),
        (["n02086240", "n02087394-Ridgeback"], LabelPromptConfig(), ["'n02086240' and 1 more like it"]),
        (DOGS, NoPromptConfig(), []),
        (DOGS, TextPromptConfig(["a dog"], [""]), []),
        (NAMES, LabelPromptConfig(), []),
    ],
)
def test_names_that_no_caption_has_are_told(
    names: list[str], prompt: PromptConfig, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    TEXT["sd15"].settings("nowhere").check(prompt, names, names)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == len(said), err
    assert all(words in err for words in said), err


# --- what a model is made of ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXT)
def test_the_text_encoder_is_no_part_of_what_scores(name: str, folders: Callable[[str], Path]) -> None:
    _, denoiser = scored(TEXT[name], folders(name), LabelPromptConfig())
    assert not [part for part in denoiser.modules() if isinstance(part, PreTrainedModel)]
    assert not [key for key in denoiser.state_dict() if "text_model" in key or "decoder" in key]


@pytest.mark.parametrize("name", TEXT)
def test_scoring_needs_no_files_of_the_text_encoder(name: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("text_encoder*", "tokenizer*")
    shutil.copytree(folders(name), tmp_path / "m", ignore=ignored)
    assert TEXT[name].settings(tmp_path / "m").load(CPU).latent_shape(16)[1:] == (8, 8)


@pytest.mark.parametrize(("name", "upcast"), [("sd15", True), ("sd21", False), ("sdxl", True), ("sd3", True)])
def test_the_vae_is_in_fp32_where_its_config_asks(name: str, upcast: bool, folders: Callable[[str], Path]) -> None:
    """SD 1.5's says nothing: diffusers' default, which is yes."""
    _, denoiser = scored(TEXT[name], folders(name), NoPromptConfig(), "bf16")
    assert isinstance(denoiser.latents, VAESpace)
    dtypes = {weights.dtype for weights in denoiser.latents.vae.parameters()}
    assert dtypes == {torch.float32 if upcast else torch.bfloat16}
    assert denoiser.encode(random_images(16)).dtype == torch.float32


@pytest.mark.parametrize("name", TEXT)
def test_a_variant_of_the_weight_files(name: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(folders(name), tmp_path / "m")
    for file in (tmp_path / "m").glob("*/*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    found = TEXT[name].settings(tmp_path / "m", variant="fp16")
    plain = TEXT[name].settings(folders(name))
    images = random_images(16)
    assert torch.equal(found.load(CPU).encode(images), plain.load(CPU).encode(images))
    rows, others = (b.conditions(LabelPromptConfig(), NAMES, FOLDERS, CPU).table for b in (found, plain))
    assert all(torch.equal(rows[key], others[key]) for key in others)
    with pytest.raises(UserError, match="cannot load"):
        TEXT[name].settings(tmp_path / "m").load(CPU)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CLASSES, *UNCONDITIONAL])
def test_sentences_for_a_prior_without_text_are_refused(name: str, folders: Callable[[str], Path]) -> None:
    backbone = ALL[name].settings(folders(name))
    with pytest.raises(UserError, match=r"prompt=text: backbone tiny .* takes classes, .*text-conditional") as caught:
        backbone.check(TextPromptConfig(), NAMES, FOLDERS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_labels_for_an_unconditional_prior_are_refused(name: str, folders: Callable[[str], Path]) -> None:
    backbone = ALL[name].settings(folders(name))
    with pytest.raises(UserError, match=r"tiny ddpm is unconditional and knows no classes; use prompt=none"):
        backbone.check(LabelPromptConfig(), NAMES, FOLDERS)


def use(family: Family, folder: Path | str) -> None:
    """Loads all there is."""
    backbone = family.settings(folder)
    backbone.conditions(NoPromptConfig(), NAMES, FOLDERS, CPU)
    backbone.load(CPU)


PARTS = [(name, part) for name in TEXT for part in ("network", "vae", "scheduler", "text_encoder", "tokenizer")]
PARTS += [(name, part) for name in ("sdxl", "sd3") for part in ("text_encoder_2", "tokenizer_2", "model_index.json")]
PARTS += [("sd3", "text_encoder_3"), ("sd3", "tokenizer_3"), ("ddpm_in_parts", "unet"), ("class_unet", "scheduler")]


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_a_missing_part_is_named_with_its_folder(
    name: str, part: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(folders(name), tmp_path / "m")
    if part == "network":
        part = "transformer" if name.startswith("sd3") else "unet"
    gone = tmp_path / "m" / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(UserError, match=f"backbone tiny .*: cannot load {gone}") as caught:
        use(ALL[name], tmp_path / "m")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("file", ["vocab.json", "merges.txt"])
def test_a_tokenizer_without_its_words_is_refused(
    name: str, file: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    """Half a download: transformers would make do with a vocabulary of three tokens."""
    shutil.copytree(folders(name), tmp_path / "m")
    (tmp_path / "m" / "tokenizer" / file).unlink()
    with pytest.raises(UserError, match=f"cannot load {tmp_path / 'm' / 'tokenizer'}"):
        use(TEXT[name], tmp_path / "m")


@pytest.mark.parametrize("name", ALL)
def test_a_model_that_is_nowhere_says_where_it_was_looked_for_and_how_to_get_it(name: str) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    with pytest.raises(UserError) as caught:
        use(ALL[name], "nobody/nothing")
    message = str(caught.value)
    assert "\n" not in message
    assert "'nobody/nothing' (" in message
    assert f"({HF_HUB_CACHE})" in message
    assert "fetch it with `hf download nobody/nothing`" in message
    assert "backbone.path=<folder>" in message


PICKLED = [("sd15", "unet"), ("sd15", "vae"), ("sd15", "text_encoder"), ("sdxl", "text_encoder_2"), ("dit", "vae")]


@pytest.mark.parametrize(("name", "part"), [*PICKLED, ("sd3", "transformer"), ("sd3", "text_encoder_3")])
def test_pickled_weights_are_refused(name: str, part: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    """They may run anything when they are loaded."""
    shutil.copytree(folders(name), tmp_path / "m")
    (file,) = (tmp_path / "m" / part).glob("*.safetensors")
    pickled = "pytorch_model.bin" if file.stem == "model" else f"{file.stem}.bin"
    torch.save(load_file(file), file.with_name(pickled))
    file.unlink()
    with pytest.raises(UserError, match=f"cannot load {file.parent}.*safetensors") as caught:
        use(ALL[name], tmp_path / "m")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "size", "multiple"), [("sd15", 18, 4), ("sd3", 18, 4), ("class_unet", 18, 4)])
def test_an_image_size_that_does_not_suit_is_refused(
    name: str, size: int, multiple: int, folders: Callable[[str], Path]
) -> None:
    with pytest.raises(UserError, match=f"image size {size} is not a multiple of {multiple}"):
        ALL[name].settings(folders(name)).load(CPU).latent_shape(size)

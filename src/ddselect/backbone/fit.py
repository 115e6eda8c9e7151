"""Whether a prior's folder is what its option says, told from its configs alone, before any work."""

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ddselect.backbone.latents import downsampling, latent_side
from ddselect.backbone.loading import ModelSource
from ddselect.backbone.schedule import FLOW, PREDICTIONS
from ddselect.runtime.errors import UserError

Config = Mapping[str, Any]
_CLIP, _T5 = ("clip_text_model", "clip"), ("t5",)  # model types of text encoders
_ENCODERS: dict[str, Sequence[Sequence[str]]] = {  # of an option, in order, what can be loaded as each
    "sd15": (_CLIP,),
    "sd21": (_CLIP,),
    "sdxl": (_CLIP, _CLIP),
    "sd3": (_CLIP, _CLIP, _T5),
}
_IMAGENET = 1000  # classes
_LIBRARIES = ("diffusers", "transformers", None)
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermarker")  # parts that scoring never loads
_KNOWN = {  # names in diffusers that need no look at it, which takes seconds to import
    *("StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "DiTPipeline"),
    *("DDPMPipeline", "UNet2DModel", "UNet2DConditionModel", "DiTTransformer2DModel", "SD3Transformer2DModel"),
    *("AutoencoderKL", "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"),
    *("FlowMatchEulerDiscreteScheduler", "Transformer2DModel"),
}


def check_fit(source: ModelSource, options: Sequence[str], sides: Collection[int]) -> None:
    """Refuses a model that is none of some options of the group ``backbone``, or whose parts do not fit together.

    Args:
        source: The model.
        options: Names of options whose family can load it.
        sides: Sides in pixels of the square images that it is to see.

    Raises:
        UserError: It does not fit, and the option that does is named, if there is one; or a part is missing, damaged or
            asks for code of its own, which is never run.
    """
    index, part = source.find("model_index.json") or {}, source.network_part()
    network, scheduler = source.config(part), source.scheduler()
    _refuse_code(source, {"model_index.json": index, part: network, "scheduler": scheduler})
    title, kind, found = f"backbone {source.title}: {source.path}", network.get("_class_name"), _option(network, index)
    if found not in options:
        fits = (
            f"as of backbone={found}; set that for it" if found else "whose inputs no option has; choose another model"
        )
        raise UserError(f"{title} is another kind of model, a {kind} {fits}")
    parts = {name: source.config(name) for name in _parts(found, kind, index)}
    tokenizers = [name.replace("text_encoder", "tokenizer") for name in parts if name != "vae"]
    _refuse_code(source, {**parts, **{name: source.tokenizer_config(name) for name in tokenizers}})
    for number, types in enumerate(_ENCODERS.get(found, ()), 1):
        config = parts.get(_encoder(number))
        if config and config.get("model_type") not in types:
            raise UserError(f"{title}: {_encoder(number)} is a {config.get('model_type')}, a {types[0]} is needed")
    for name in (part, *parts):
        source.check_weights(name)
    _check_scheduler(title, scheduler)
    for what, value, other, wanted in _comparisons(found, network, index, parts):
        if value is not None and wanted is not None and value != wanted:
            raise UserError(f"{title}: its parts are not of one model, {what} is {value}, {other} {wanted}")
    factor = downsampling(parts["vae"]) if "vae" in parts else int(index.get("patch", 1))
    for side in sides:
        latent_side(source.title, network, factor, side)


def _option(network: Config, index: Config) -> str:
    """The option that a network is made for; none ('') where it takes what no option gives it."""
    kind, width = network.get("_class_name"), network.get("cross_attention_dim")
    added, classes = network.get("addition_embed_type"), network.get("num_class_embeds")
    if kind == "UNet2DModel" and not {"vae", "vqvae"} & index.keys():
        return "class_unet" if classes else "ddpm"
    if kind == "SD3Transformer2DModel":
        return "sd3"
    if kind in ("DiTTransformer2DModel", "Transformer2DModel") and network.get("norm_type") == "ada_norm_zero":
        return "dit_xl_2_512" if network["sample_size"] > 32 else "dit_xl_2_256"
    if kind == "UNet2DConditionModel" and not (classes or network.get("class_embed_type")):
        return {"text_time": "sdxl", "text": "sd15", None: "sd21" if width == 1024 else "sd15"}.get(added, "")
    return ""


def _encoder(number: int) -> str:
    return f"text_encoder_{number}" if number > 1 else "text_encoder"


def _parts(option: str, kind: str | None, index: Config) -> list[str]:
    """Folders that a model of an option has beside its network and scheduler."""
    parts = [_encoder(number) for number in range(1, 1 + len(_ENCODERS.get(option, ())))]
    if option == "sd3" and not index.get(_encoder(3), [None])[0]:
        parts.remove(_encoder(3))  # which may be absent
    return [*parts, *["vae"] * (kind != "UNet2DModel" and "patch" not in index)]


def _comparisons(
    option: str, network: Config, index: Config, parts: Mapping[str, Config]
) -> Iterator[tuple[str, int | None, str, int | None]]:
    """What must be equal in two parts: what it is in the network, and in another, each with its name."""
    if vae := parts.get("vae"):
        yield "in_channels", network.get("in_channels"), "latent_channels of its VAE", vae.get("latent_channels", 4)
    else:
        yield "in_channels", network.get("in_channels"), "patch x patch x 3", 3 * int(index.get("patch", 1)) ** 2
    encoders = [parts[_encoder(number)] for number in (1, 2, 3) if _encoder(number) in parts]
    widths = [encoder.get("hidden_size") or encoder.get("d_model") for encoder in encoders]
    projected = [encoder.get("projection_dim") for encoder in encoders[:2]]
    if option.startswith("dit"):
        yield "num_embeds_ada_norm", network.get("num_embeds_ada_norm"), "ImageNet's classes are", _IMAGENET
    elif option in ("sd15", "sd21", "sdxl"):
        wanted = network.get("encoder_hid_dim") or network.get("cross_attention_dim")
        yield "the width of its text", wanted, "that of its text encoders", _sum(widths)
    if option == "sdxl" and (side := network.get("addition_time_embed_dim")):
        wanted = network.get("projection_class_embeddings_input_dim")
        yield "the width of its added embedding", wanted, "that of text and sizes", _sum([projected[1], 6 * side])
    if option == "sd3":
        yield "pooled_projection_dim", network.get("pooled_projection_dim"), "its text encoders' is", _sum(projected)
        for width in widths[2:]:
            yield "joint_attention_dim", network.get("joint_attention_dim"), "d_model of text_encoder_3", width


def _sum(numbers: Sequence[int | None]) -> int | None:
    """The sum; None if a part of it is not known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _check_scheduler(title: str, config: Config) -> None:
    """Refuses a forward process that has neither betas nor a flow's straight lines."""
    kind = str(config.get("_class_name", "DDPMScheduler"))
    if kind.startswith(FLOW):
        return
    if kind not in _KNOWN and "beta_schedule" not in inspect.signature(_diffusers(kind)).parameters:
        raise UserError(f"{title}: its {kind} has no betas, and is not of flow matching; choose another model")
    if (prediction := config.get("prediction_type", PREDICTIONS[0])) not in PREDICTIONS:
        known = ", ".join(PREDICTIONS)
        raise UserError(f"{title}: its scheduler has prediction_type '{prediction}', which is none of {known}")


def _refuse_code(source: ModelSource, configs: Mapping[str, Config]) -> None:
    """Refuses a model that is not of the classes of diffusers and transformers alone."""
    for name, config in configs.items():
        odd = ["auto_map"] * bool(config.get("auto_map"))
        if (kind := config.get("_class_name")) and not (isinstance(kind, str) and _diffusers(kind)):
            odd.append(f"_class_name: {kind}")
        if name == "model_index.json":
            named = [(part, value[0]) for part, value in config.items() if isinstance(value, list) and len(value) == 2]
            odd += [f"{part}: {module}" for part, module in named if part not in _UNUSED and module not in _LIBRARIES]
        if odd:
            raise UserError(
                f"backbone {source.title}: {source.path}/{name} asks for code of its own ({odd[0]}), which is never "
                "run; choose a model of classes that diffusers and transformers have"
            )


def _diffusers(name: str) -> Any:
    """A class of diffusers, or True for one that is known to be there; None if there is none."""
    if name in _KNOWN:
        return True
    import diffusers  # takes seconds, which most models do not need

    return getattr(diffusers, name, None)

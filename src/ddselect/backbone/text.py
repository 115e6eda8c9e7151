"""Text encoders of text-conditional priors: prompts to the embeddings that their networks were trained with."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel
from transformers.utils.logging import disable_progress_bar

from ddselect.backbone.loading import ModelSource

disable_progress_bar()  # of every part that is loaded
_T5_TOKENS = 256  # what SD3's pipelines give the T5 encoder


class TextEncoder(nn.Module, ABC):
    """Encodes prompts for one family of models: loaded, used once for each prompt, and gone before scoring starts."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tensors with a row for each text: ``context`` (N, T, D), for some families ``pooled`` (N, D) too."""

    def truncated(self, texts: Sequence[str]) -> list[str]:
        """Those texts of which the end is cut off, since they have too many tokens."""
        return [text for text in texts if any(len(t(text).input_ids) > t.model_max_length for t in self.tokenizers)]

    tokenizers: list[CLIPTokenizer]


def clip_tokens(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """(N, T) int64 token ids, padded or cut to the length that the encoder was trained on."""
    length = tokenizer.model_max_length
    tokens = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return tokens.input_ids


class CLIPText(TextEncoder):
    """Stable Diffusion 1.x and 2.x: the last hidden states of a CLIP text model."""

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        super().__init__()
        self.tokenizers = [source.tokenizer(CLIPTokenizer, "tokenizer")]
        self.model = source.part(CLIPTextModel, "text_encoder", dtype)

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        tokens = clip_tokens(self.tokenizers[0], texts).to(self.model.device)
        return {"context": self.model(tokens).last_hidden_state.float()}


class _TwoCLIPs(TextEncoder):
    """The penultimate states of two CLIP text models, side by side, and their pooled projections."""

    first: Any  # class of the first model

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        super().__init__()
        self.tokenizers = [source.tokenizer(CLIPTokenizer, name) for name in ("tokenizer", "tokenizer_2")]
        kinds = ((self.first, "text_encoder"), (CLIPTextModelWithProjection, "text_encoder_2"))
        self.models = nn.ModuleList([source.part(kind, name, dtype) for kind, name in kinds])

    def _states(self, texts: Sequence[str]) -> tuple[Tensor, list[Tensor | None]]:
        states, pooled = [], []
        for tokenizer, model in zip(self.tokenizers, self.models, strict=True):
            tokens = clip_tokens(tokenizer, texts).to(next(model.parameters()).device)
            output = model(tokens, output_hidden_states=True)
            states.append(output.hidden_states[-2].float())
            pooled.append(output.text_embeds.float() if "text_embeds" in output else None)
        return torch.cat(states, -1), pooled


class SDXLText(_TwoCLIPs):
    """Stable Diffusion XL. Its pooled embedding is the second model's; an empty prompt is all zeros if it says so."""

    first = CLIPTextModel

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        super().__init__(source, dtype)
        self.zeros_if_empty = bool(source.model_index().get("force_zeros_for_empty_prompt", True))

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        context, (_, pooled) = self._states(texts)
        assert pooled is not None
        if self.zeros_if_empty:
            keep = torch.tensor([bool(text) for text in texts], dtype=torch.float32, device=context.device)
            context, pooled = context * keep[:, None, None], pooled * keep[:, None]
        return {"context": context, "pooled": pooled}


class SD3Text(_TwoCLIPs):
    """Stable Diffusion 3: two CLIP models and a T5 encoder, which may be absent (zeros stand for it then)."""

    first = CLIPTextModelWithProjection

    def __init__(self, source: ModelSource, dtype: torch.dtype) -> None:
        super().__init__(source, dtype)
        self.width = int(source.config("transformer")["joint_attention_dim"])
        self.t5: T5EncoderModel | None = None
        if source.model_index().get("text_encoder_3", [None])[0]:
            self.t5_tokenizer = source.tokenizer(AutoTokenizer, "tokenizer_3")
            self.t5 = source.part(T5EncoderModel, "text_encoder_3", dtype)

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        states, pooled = self._states(texts)
        states = F.pad(states, (0, self.width - states.shape[-1]))
        long = torch.zeros(len(texts), _T5_TOKENS, self.width, device=states.device)
        if self.t5 is not None:
            tokens = self.t5_tokenizer(
                list(texts), padding="max_length", max_length=_T5_TOKENS, truncation=True, return_tensors="pt"
            ).input_ids
            long = self.t5(tokens.to(self.t5.device)).last_hidden_state.float()
        both = [part for part in pooled if part is not None]
        return {"context": torch.cat([states, long], 1), "pooled": torch.cat(both, -1)}

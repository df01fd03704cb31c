"""Prompts to embeddings: batched, and remembered."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, concat, zeros_like

from scheduler.sdxl.untyped import Pipeline
from scheduler.sdxl.upload import upload

FULL_BATCH = 8  # texts: together they take a third of the time that they take one by one, and more gain little
CACHE_BYTES = 64 * 2**20  # some 200 prompts of SDXL in half precision


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """What the UNet reads of a prompt: `tokens` [tokens, dim] of both encoders side by side, `pooled` [dim]."""

    tokens: Tensor
    pooled: Tensor
    truncated: bool

    @property
    def num_bytes(self) -> int:
        return self.tokens.nbytes + self.pooled.nbytes

    def zeros(self) -> "TextEmbedding":
        """What stands for no prompt at all."""
        return TextEmbedding(zeros_like(self.tokens), zeros_like(self.pooled), truncated=False)


class Lookups(NamedTuple):
    """How many texts were asked for that were remembered, and that had to be encoded."""

    hits: int
    misses: int


class PromptEncoder:
    """Encodes prompts as the pipeline does, all new ones in one batch, and waits for the device nowhere."""

    def __init__(self, pipe: Pipeline, cache_bytes: int = CACHE_BYTES) -> None:
        self._pipe = pipe
        self._cache_bytes = cache_bytes
        self._cached_bytes = 0
        self._cache: OrderedDict[str, TextEmbedding] = OrderedDict()
        self._unused: set[str] = set()  # of the cache: encoded ahead, and not asked for yet
        self._lookups = Lookups(0, 0)

    def encode(self, texts: Sequence[str], expected: Sequence[str] = ()) -> dict[str, TextEmbedding]:
        """An embedding for every text, from the cache where it is there. A text that is asked for the first time counts
        as one miss, and as hits where it is there again. Where one has to be encoded, the batch is filled up with those
        that are expected.
        """
        wanted = dict.fromkeys(texts)
        found = {text: self._cache[text] for text in wanted if text in self._cache}
        missing = [text for text in wanted if text not in found]
        ahead = self._ahead(missing, expected) if missing else []
        found |= self._encode([*missing, *ahead]) if missing else {}
        self._count(len(texts), [*missing, *self._unused.intersection(wanted)])
        self._unused = (self._unused - wanted.keys()) | set(ahead)
        for text in found:
            self._remember(text, found[text])
        return found

    def negative_text(self, negative_prompt: str | None) -> str | None:
        """The text to encode, None for zeros. Without a negative prompt it is zeros for a model that was trained with
        them, else the empty text; "" is text.
        """
        if negative_prompt is None and not self._pipe.config.force_zeros_for_empty_prompt:
            return ""
        return negative_prompt

    def take_lookups(self) -> Lookups:
        """Since this was asked last."""
        lookups, self._lookups = self._lookups, Lookups(0, 0)
        return lookups

    def is_truncated(self, text: str) -> bool:
        """Whether the text has more tokens than one of the encoders reads."""
        tokenizers = (self._pipe.tokenizer, self._pipe.tokenizer_2)
        return any(len(each(text, verbose=False).input_ids) > each.model_max_length for each in tokenizers)

    def _count(self, num_texts: int, first_asked: Sequence[str]) -> None:
        misses = len(first_asked)
        self._lookups = Lookups(self._lookups.hits + num_texts - misses, self._lookups.misses + misses)

    def _ahead(self, missing: Sequence[str], expected: Sequence[str]) -> list[str]:
        new = [text for text in dict.fromkeys(expected) if text not in missing and text not in self._cache]
        return new[: max(0, FULL_BATCH - len(missing))]

    def _encode(self, texts: list[str]) -> dict[str, TextEmbedding]:
        tokens, pooled = self._embed(texts)
        # Cloned, because a row that is a view would keep the whole batch in memory.
        return {
            text: TextEmbedding(tokens[i].clone(), pooled[i].clone(), self.is_truncated(text))
            for i, text in enumerate(texts)
        }

    def _embed(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """[n, tokens, dim] and [n, dim]: those of the pipeline's `encode_prompt`, which waits for what it uploads."""
        pipe = self._pipe
        parts = ((pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2))
        outputs = [
            encoder(upload(_token_ids(tokenizer, texts), encoder.device), output_hidden_states=True)
            for tokenizer, encoder in parts
        ]
        tokens = concat([output.hidden_states[-2] for output in outputs], dim=-1)
        return tokens.to(pipe.text_encoder_2.dtype), outputs[-1][0]

    def _remember(self, text: str, embedding: TextEmbedding) -> None:
        if text not in self._cache:
            self._cache[text] = embedding
            self._cached_bytes += embedding.num_bytes
        self._cache.move_to_end(text)
        while self._cached_bytes > self._cache_bytes:
            text, oldest = self._cache.popitem(last=False)
            self._unused.discard(text)
            self._cached_bytes -= oldest.num_bytes


def _token_ids(tokenizer: Any, texts: list[str]) -> Tensor:
    """[n, tokens] on the CPU, cut or filled up to what the encoder reads."""
    ids: Tensor = tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids

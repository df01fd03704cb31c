"""Embeddings: those of the pipeline, each computed once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from scheduler.engine import Engine
from scheduler.sdxl.prompts import FULL_BATCH, PromptEncoder
from tests.models import NUM_TOKENS
from tests.sdxl.drive import Driver, make_request

TOO_LONG = "far too long " * 9


@pytest.fixture(scope="module")
def pipe(tiny_sdxl: Path) -> Any:
    load: Any = StableDiffusionXLPipeline.from_pretrained
    return load(tiny_sdxl)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The batches of texts that were really encoded."""
    batches: list[list[str]] = []
    embed = PromptEncoder._embed

    def counted(encoder: PromptEncoder, texts: list[str]) -> Any:
        batches.append(texts)
        return embed(encoder, texts)

    monkeypatch.setattr(PromptEncoder, "_embed", counted)
    return batches


@torch.inference_mode()
@pytest.mark.parametrize("negative", ["blurry", "", TOO_LONG, None])
@pytest.mark.parametrize("force_zeros", [True, False])
def test_embeddings_equal_the_pipelines(pipe: Any, negative: str | None, force_zeros: bool) -> None:
    pipe.register_to_config(force_zeros_for_empty_prompt=force_zeros)
    encoder = PromptEncoder(pipe)
    text = encoder.negative_text(negative)
    found = encoder.encode(["a red house", *([] if text is None else [text])])
    prompt = found["a red house"]
    negative_prompt = prompt.zeros() if text is None else found[text]
    expected = pipe.encode_prompt("a red house", negative_prompt=negative)
    actual = (prompt.tokens, negative_prompt.tokens, prompt.pooled, negative_prompt.pooled)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs[0])


@torch.inference_mode()
def test_a_batch_equals_the_pipelines_to_the_bit(pipe: Any) -> None:
    texts = ["a red house", "", TOO_LONG, "blurry, low quality", "a tree"]
    embeddings = PromptEncoder(pipe).encode(texts)
    tokens, _, pooled, _ = pipe.encode_prompt(texts, do_classifier_free_guidance=False)
    assert torch.equal(torch.stack([embeddings[text].tokens for text in texts]), tokens)
    assert torch.equal(torch.stack([embeddings[text].pooled for text in texts]), pooled)
    assert tokens.dtype == pooled.dtype == torch.float32


def test_a_text_is_encoded_once(pipe: Any, calls: list[list[str]]) -> None:
    encoder = PromptEncoder(pipe)
    encoder.encode(["red", "blue", "red"])
    encoder.encode(["blue", "green"])
    encoder.encode(["red"])
    assert calls == [["red", "blue"], ["green"]]


def test_a_batch_is_filled_up_with_what_is_expected(pipe: Any, calls: list[list[str]]) -> None:
    encoder = PromptEncoder(pipe)
    expected = ["blue", "red", "blue", *(str(number) for number in range(FULL_BATCH))]
    assert list(encoder.encode(["red"], expected)) == ["red", "blue", *(str(number) for number in range(6))]
    assert calls == [["red", "blue", "0", "1", "2", "3", "4", "5"]]
    encoder.encode(["blue", "5"], ["6"])
    assert calls[1:] == []
    encoder.encode(["6"], ["5", "7"])
    assert calls[1:] == [["6", "7"]]
    assert encoder.take_lookups() == (0, 4)
    encoder.encode(["red", "6"])
    assert encoder.take_lookups() == (2, 0)


def test_what_was_encoded_ahead_and_forgotten_is_encoded_again(pipe: Any, calls: list[list[str]]) -> None:
    one = PromptEncoder(pipe).encode(["red"])["red"].num_bytes
    encoder = PromptEncoder(pipe, cache_bytes=2 * one)
    calls.clear()
    assert set(encoder.encode(["red"], ["blue", "green"])) == {"red", "blue", "green"}
    encoder.encode(["red"])
    assert calls == [["red", "blue", "green"], ["red"]]
    assert encoder.take_lookups() == (0, 2)


def test_the_cache_forgets_what_was_used_longest_ago(pipe: Any, calls: list[list[str]]) -> None:
    one = PromptEncoder(pipe).encode(["red"])["red"].num_bytes
    encoder = PromptEncoder(pipe, cache_bytes=2 * one)
    for text in ("red", "blue", "red", "green", "red", "blue"):
        assert list(encoder.encode([text])) == [text]
    assert calls[1:] == [["red"], ["blue"], ["green"], ["blue"]]


def test_a_batch_larger_than_the_cache_is_whole(pipe: Any) -> None:
    texts = ["red", "blue", "green"]
    assert list(PromptEncoder(pipe, cache_bytes=1).encode(texts)) == texts


def test_lookups_are_counted(pipe: Any) -> None:
    encoder = PromptEncoder(pipe)
    encoder.encode(["red", "blue", "red"])
    assert encoder.take_lookups() == (1, 2)
    encoder.encode(["red", "green"])
    encoder.encode(["blue"])
    assert encoder.take_lookups() == (2, 1)
    assert encoder.take_lookups() == (0, 0)


def test_a_prompt_that_is_cut_off_is_told(pipe: Any) -> None:
    fits = "x" * (NUM_TOKENS - 2)  # a token a letter, and two around them
    embeddings = PromptEncoder(pipe).encode([fits, fits + "x"])
    assert [each.truncated for each in embeddings.values()] == [False, True]


def test_so_is_a_negative_prompt_where_guidance_reads_it(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(tiny_engine, monkeypatch)
    read, unread = (
        make_request(f"guidance {scale}", negative_prompt=TOO_LONG, guidance_scale=scale) for scale in (5.0, 1.0)
    )
    driver.run({0: [read, unread, make_request("short")]})
    assert [id_ for id_, trace in driver.traces.items() if trace.prompt_truncated] == ["guidance 5.0"]

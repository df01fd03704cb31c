import pytest
from transformers import CLIPTokenizer

from models.postcard.captions import vocabulary
from models.postcard.tokenizer import MAX_TOKENS, new_tokenizer
from models.postcard.unet import tokenise


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return new_tokenizer(vocabulary())


def test_every_word_of_the_captions_is_one_token(tokenizer: CLIPTokenizer) -> None:
    words = [word for word in vocabulary() if word.isalpha()]
    start_and_end = 2
    assert [word for word in words if len(tokenizer(word).input_ids) != 1 + start_and_end] == []


@pytest.mark.parametrize(
    "text", ["", " ", "a red house 🏠 🌅", "zażółć gęślą jaźń", "赤い家", "\x00\ud7ff<|endoftext|>", "x" * 5000]
)
def test_any_text_becomes_tokens(tokenizer: CLIPTokenizer, text: str) -> None:
    tokens = tokenise(tokenizer, [text])
    assert tokens.shape == (1, MAX_TOKENS)
    assert int(tokens.max()) < len(tokenizer)


def test_case_and_spacing_do_not_matter(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer("A  Red\nHOUSE").input_ids == tokenizer("a red house").input_ids


def test_colours_are_told_apart(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer("a red house").input_ids != tokenizer("a blue house").input_ids

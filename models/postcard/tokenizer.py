"""A CLIP tokenizer with a vocabulary of our own: every byte, and the words of this world as one token each."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

MAX_TOKENS = 40
END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"


def new_tokenizer(words: Iterable[str]) -> CLIPTokenizer:
    """Any text becomes tokens; each of `words` (lower case) becomes a single one."""
    merges = _merges(words)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    last_letters = [letter + END_OF_WORD for letter in letters]
    tokens = [*letters, *last_letters, *(one + other for one, other in merges), START, END]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(dict.fromkeys(tokens))},
        merges=merges,  # type: ignore[arg-type]  # pairs are what it takes
        model_max_length=MAX_TOKENS,
    )


def _merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, in order, that join each word; a later word builds on the pieces of earlier ones."""
    merges: list[tuple[str, str]] = []
    for part in dict.fromkeys(part for word in words for part in _parts(word)):
        pieces = _apply(merges, [*part[:-1], part[-1] + END_OF_WORD])
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            merges.append(pair)
            pieces = _join(pair, pieces)
    return merges


def _parts(word: str) -> list[str]:
    """Split as CLIP's pre-tokenizer does: letters together, digits apart."""
    spaced = "".join(letter if letter.isalpha() else f" {letter} " for letter in word)
    return spaced.split()


def _apply(merges: list[tuple[str, str]], pieces: list[str]) -> list[str]:
    """Merge `pieces` as byte-pair encoding does: of the pairs present always the earliest in `merges`."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    while True:
        pairs = [pair for pair in pairwise(pieces) if pair in ranks]
        if not pairs:
            return pieces
        pieces = _join(min(pairs, key=ranks.__getitem__), pieces)


def _join(pair: tuple[str, str], pieces: list[str]) -> list[str]:
    joined: list[str] = []
    position = 0
    while position < len(pieces):
        if tuple(pieces[position : position + 2]) == pair:
            joined.append("".join(pair))
            position += 2
        else:
            joined.append(pieces[position])
            position += 1
    return joined

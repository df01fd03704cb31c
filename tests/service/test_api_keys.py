"""Key files, and the keys that are made for them."""

import hashlib
import os
from pathlib import Path

import pytest

from service.api_keys import ApiKeyError, ApiKeys, make_key


def write_keys(folder: Path, text: str) -> Path:
    path = folder / "keys.txt"
    path.write_text(text)
    return path


def name_of(keys: ApiKeys, key: str) -> str:
    found = keys.find(key)
    assert found is not None
    return found.name


def test_a_made_key_opens_with_its_line(tmp_path: Path) -> None:
    key, line = make_key("alice")
    keys = ApiKeys.read(write_keys(tmp_path, line))
    assert name_of(keys, key) == "alice"
    assert keys.find(key[:-1]) is None
    assert keys.find("") is None


def test_a_line_holds_the_sha256_of_the_key_and_never_the_key() -> None:
    key, line = make_key("alice")
    assert line == f"alice:{hashlib.sha256(key.encode()).hexdigest()}"


def test_keys_are_long_and_never_the_same() -> None:
    keys = {make_key("alice")[0] for _ in range(20)}
    assert len(keys) == 20
    assert all(key.startswith("lc_") and len(key) >= 43 for key in keys)


def test_comments_blank_lines_and_several_keys_of_one_name(tmp_path: Path) -> None:
    (first, one), (second, two), (third, three) = make_key("alice"), make_key("bob"), make_key("alice")
    path = write_keys(tmp_path, f"# who may\n\n  {one}  \n{two.upper().replace('BOB', 'bob')}\n{three}\n")
    keys = ApiKeys.read(path)
    assert [name_of(keys, key) for key in (first, second, third)] == ["alice", "bob", "alice"]


def test_a_key_that_no_text_can_hold_is_nobodys(tmp_path: Path) -> None:
    keys = ApiKeys.read(write_keys(tmp_path, make_key("alice")[1]))
    assert keys.find(os.fsdecode(b"\xff")) is None
    assert keys.find("\ud800") is None


@pytest.mark.parametrize(
    "line",
    ["alice", "alice:", f"alice:{'0' * 63}", f"al ice:{'0' * 64}", f":{'0' * 64}", f"alice:{'0' * 64}:high"],
)
def test_a_wrong_line_is_named_and_never_shown(tmp_path: Path, line: str) -> None:
    path = write_keys(tmp_path, f"# keys\n{line}\n")
    with pytest.raises(ApiKeyError) as caught:
        ApiKeys.read(path)
    assert str(caught.value) == (
        f"--api-key-file {path}, line 2: must be NAME:SHA256 as `latentcast new-key NAME` prints it, "
        "or NAME:SHA256:MAX_PRIORITY"
    )


def test_a_file_without_keys_would_lock_everyone_out(tmp_path: Path) -> None:
    path = write_keys(tmp_path, "# none yet\n")
    with pytest.raises(ApiKeyError, match=r"has no key; `latentcast new-key NAME` makes one"):
        ApiKeys.read(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ApiKeyError, match="No such file or directory"):
        ApiKeys.read(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ApiKeyError, match="is not text"):
        ApiKeys.read(tmp_path / "binary")


@pytest.mark.parametrize("name", ["", "two words", "a:b", "x" * 65, "#x"])
def test_a_name_that_a_line_cannot_hold(name: str) -> None:
    with pytest.raises(ApiKeyError, match="1 to 64 letters"):
        make_key(name)


def test_the_priority_that_a_key_may_ask_for(tmp_path: Path) -> None:
    (first, one), (second, two), (third, three) = make_key("alice"), make_key("bob"), make_key("carol")
    keys = ApiKeys.read(write_keys(tmp_path, f"{one}\n{two}:10\n{three}:-5\n"))
    found = [keys.find(key) for key in (first, second, third)]
    assert [each.max_priority for each in found if each] == [0, 10, -5]

from pathlib import Path

import pytest

from tests.tools import REQUIRE_TOOLS, require_path, require_tool


def test_the_first_tool_that_is_there_is_taken() -> None:
    assert require_tool("no-such-tool", "sh").endswith("/sh")


def test_a_missing_tool_skips_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE_TOOLS, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool is not installed"):
        require_tool("no-such-tool")


def test_a_missing_tool_fails_where_tools_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE_TOOLS, "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool is not installed"):
        require_tool("no-such-tool")


def test_a_missing_folder_skips_with_the_command_that_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE_TOOLS, raising=False)
    require_path(tmp_path, "make clients")
    with pytest.raises(pytest.skip.Exception, match=r"packages is not there \(make clients\)"):
        require_path(tmp_path / "packages", "make clients")

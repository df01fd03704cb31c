"""The documents keep up with the code: every module, setting, metric, route and make target is in them."""

import re
from pathlib import Path

import pytest

from service.app import ROUTES
from service.metrics import Metrics
from service.settings import Hidden, ServeSettings, flag_name

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()

MODULES = [
    str(path.relative_to(ROOT / package))
    for package in ("scheduler", "service")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
]
SETTINGS = [
    name
    for name, field in ServeSettings.model_fields.items()
    if not any(mark is Hidden or isinstance(mark, Hidden) for mark in field.metadata)
]
METRICS = [metric.name + ("_total" if metric.type == "counter" else "") for metric in Metrics().registry.collect()]
LINKS = [
    (document, link)
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("[a-z]*/**/README.md")]
    if "node_modules" not in document.parts
    for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text())
]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_is_in_the_architecture(module: str) -> None:
    assert f"| `{module}` |" in ARCHITECTURE


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_is_documented_with_its_default(name: str) -> None:
    row = next((line for line in OPERATIONS.splitlines() if line.startswith(f"| `{flag_name(name)}` |")), None)
    assert row is not None
    default = ServeSettings.model_fields[name].default
    if isinstance(default, str | int | float):
        assert f"| {default} |" in row


@pytest.mark.parametrize("name", METRICS)
def test_metric_is_documented(name: str) -> None:
    assert f"| `{name}` |" in OPERATIONS


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES} - {"/web/{name}"}))
def test_route_is_in_the_readme(path: str) -> None:
    assert path.replace("{number}", "0") in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^(?:\s*)make ([a-z]+)", README, re.MULTILINE))))
def test_make_target_of_the_readme_exists(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize(("document", "link"), LINKS)
def test_link_leads_somewhere(document: Path, link: str) -> None:
    assert (document.parent / link).exists()

"""The machine and the versions that a figure belongs to."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("latentcast", "torch", "diffusers", "transformers", "aiohttp", "numpy")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """`cores` are those this process may use, `load_average` is of the last minute before the run."""

    measured_at: str
    cpu: str
    cores: int
    memory_gib: float
    gpus: list[str]
    system: str
    python: str
    packages: dict[str, str]
    commit: str
    load_average: float


def describe_environment() -> Environment:
    return Environment(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        gpus=output_lines("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages={name: version for name in PACKAGES if (version := _version(name))},
        commit=_commit(),
        load_average=round(os.getloadavg()[0], 2),
    )


def _cpu_model() -> str:
    """The model's name and, where the hardware has them, the units that decide the speed of bf16."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in fields.items()}
    units = [unit for unit in ("avx512_bf16", "amx_bf16") if unit in values.get("flags", "").split()]
    name = values.get("model name", platform.machine())
    return f"{name} ({', '.join(units)})" if units else name


def _commit() -> str:
    """The commit's short hash, with `+` if the tree differs from it, results aside; empty outside a repository."""
    commit = output_lines("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    others = ("--untracked-files=no", "--", ":!benchmarks/results")
    changed = output_lines("git", "-C", str(ROOT), "status", "--porcelain", *others)
    return (commit[0] + ("+" if changed else "")) if commit else ""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def output_lines(*command: str) -> list[str]:
    """What a command prints, nothing if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []

"""Which Latentcast this is."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    try:
        return version("latentcast")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "dev"

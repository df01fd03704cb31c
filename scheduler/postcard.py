"""Where Postcard lies, the small model that ships with Latentcast."""

from pathlib import Path


def bundled_model() -> Path:
    """The folder of the bundled model: package data in an installed wheel, `models/postcard/weights` in a checkout."""
    here = Path(__file__).resolve().parent
    packaged = here / "bundled" / "postcard"
    return packaged if packaged.is_dir() else here.parent / "models" / "postcard" / "weights"

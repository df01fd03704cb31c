"""Keep what the libraries print off the terminal."""

import logging
import warnings

import transformers.utils.logging
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import disable_progress_bars


def hush_libraries() -> None:
    """No warnings and no progress bars; errors come as exceptions, and are told in our own words.

    It is also a matter of privacy: diffusers logs the text of prompts that are too long.
    """
    # Before diffusers is imported: its imports make transformers warn of image processors that nobody here uses.
    transformers.utils.logging.set_verbosity(logging.CRITICAL)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    hub_logging.set_verbosity(logging.CRITICAL)
    disable_progress_bars()
    # diffusers passes it, and huggingface_hub says to everyone who loads from the hub that it should not.
    warnings.filterwarnings("ignore", "The `local_dir_use_symlinks` argument is deprecated", UserWarning)
    # Of shards that an older diffusers named, which it still reads.
    warnings.filterwarnings("ignore", "This serialization format is now deprecated", FutureWarning)

    import diffusers.utils.logging

    diffusers.utils.logging.set_verbosity(logging.CRITICAL)
    diffusers.utils.logging.disable_progress_bar()

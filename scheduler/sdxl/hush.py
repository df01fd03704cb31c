"""Keep the libraries' own warnings and progress bars off the terminal."""

import transformers.utils.logging


def hush_libraries() -> None:
    """Errors only. It is also a matter of privacy: diffusers logs the text of prompts that are too long."""
    # Before diffusers is imported: its imports make transformers warn of image processors that nobody here uses.
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    import diffusers.utils.logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    disable_progress_bars()

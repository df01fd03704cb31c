"""What is told beside the finished pictures: only what the client may not expect."""

from service.generation import Generation


def notices(generation: Generation) -> dict[str, bool]:
    """Fields of a final answer; none before the end, and none as a rule."""
    return {"prompt_truncated": True} if generation.prompt_truncated else {}

"""What a step gave, for those who run the engine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from scheduler.engine import RequestOutput, StepOutput
from scheduler.sdxl.pictures import Pictures, Slice
from scheduler.sdxl.timing import Stopwatch


@dataclass(slots=True)
class StepCounts:
    """The numbers of a `StepOutput`, by the same names."""

    num_rows: int = 0
    padded_rows: int = 0
    fitting_rows: int | None = None
    prompt_hits: int = 0
    prompt_misses: int = 0


def report(
    pictures: Pictures,
    slices: Sequence[Slice],
    watch: Stopwatch,
    counts: StepCounts,
    failed: Sequence[RequestOutput] = (),
) -> StepOutput:
    """Begins the previews and pictures that are due, and tells of the step, of `failed` requests too.

    A decode shows in the stages once it is given out. Those made beside the steps overlap with them, so then the stages
    may add up to more than the step.
    """
    made = {each.request.id: each for each in pictures.start(slices)}
    outputs = [made.get(each.request.id) or each.output() for each in slices]
    if slices:
        with watch.stage("unet"):  # which is what there is to wait for
            pictures.aside.keep_pace()
    memory_used, memory_total = pictures.model.memory()
    return StepOutput(
        outputs=[*outputs, *failed],
        duration=watch.elapsed,
        stages=watch.stages | pictures.take_seconds(),
        out_of_memory=pictures.memory.take_halvings(),
        memory_used=memory_used,
        memory_total=memory_total,
        **asdict(counts),
    )

"""What a step gave, for those who run the engine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from scheduler.engine import RequestOutput, StepOutput
from scheduler.request import Request
from scheduler.sdxl.pace import Kind, Pace
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
    pace: Pace,
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
    duration = _end_step(pace, slices[0].request, watch, counts) if slices else watch.elapsed
    memory_used, memory_total = pictures.model.memory()
    return StepOutput(
        outputs=[*outputs, *failed],
        duration=duration,
        stages=watch.stages | pictures.take_seconds(),
        out_of_memory=pictures.memory.take_halvings(),
        memory_used=memory_used,
        memory_total=memory_total,
        **asdict(counts),
    )


def _end_step(pace: Pace, one: Request, watch: Stopwatch, counts: StepCounts) -> float:
    """Seconds of the step. A device that goes on by itself has only been given it: what such a step took lately counts.

    Of that, the UNet has what the program does not spend.
    """
    kind = Kind(counts.num_rows + counts.padded_rows, one.params.pixels)
    pace.end(kind)
    spent = watch.elapsed
    duration = max(spent, pace.seconds(kind))
    watch.stages["unet"] = watch.stages.get("unet", 0.0) + duration - spent
    return duration

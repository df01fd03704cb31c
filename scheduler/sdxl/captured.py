"""CUDA graphs: the kernels of a call, recorded once and started together, so that no kernel waits for the program.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

cuda: Any = torch.cuda  # partly untyped

WARM_UP_CALLS = 3  # in which libraries choose their kernels and take their workspaces; none of it may be recorded


class Lane:
    """Where graphs are recorded that never run at the same time: they share memory, but for their results.

    The stream belongs to it, because cuBLAS has one workspace a stream, and a graph goes on using the one it was
    recorded with.
    """

    def __init__(self) -> None:
        self.pool = cuda.graph_pool_handle()
        self.stream = cuda.Stream()


class Captured:
    """A call without arguments, recorded. It reads and writes the same memory each time, so the inputs are buffers.

    What it returns is a copy: the next call of any graph of the lane may overwrite the rest.
    """

    def __init__(self, call: Callable[[], Any], lane: Lane) -> None:
        lane.stream.wait_stream(cuda.current_stream())
        with cuda.stream(lane.stream):
            for _ in range(WARM_UP_CALLS):
                call()
        cuda.current_stream().wait_stream(lane.stream)
        self._graph = cuda.CUDAGraph()
        # In its stream already: where the call fails `graph` may fail too, and would leave its stream the current one.
        with cuda.stream(lane.stream), cuda.graph(self._graph, pool=lane.pool, stream=lane.stream):
            self._result = call()

    def __call__(self) -> Any:
        self._graph.replay()
        return tree_map_only(torch.Tensor, torch.clone, self._result)

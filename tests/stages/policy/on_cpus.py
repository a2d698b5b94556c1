"""`diag` with FSDP and DeepSpeed on CPUs: accelerate itself shards on GPUs alone, and leaves CPUs to plain DDP.

    torchrun --nproc_per_node 2 on_cpus.py train ...        the environment is what `accelerate launch` would set

Says on stderr what sharded the weights, so that a test can tell that they were.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterator
from typing import Any

from accelerate.state import DistributedType, PartialState

from posttrain_diag.cli.app import main
from posttrain_diag.stages.policy import policy

join, gather = PartialState.__init__, policy.gathered


def joined(self: Any, *args: Any, **more: Any) -> None:
    """The processes as accelerate finds them, taken for GPUs where it decides whether to shard."""
    join(self, *args, **more)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU
    if "ACCELERATE_USE_DEEPSPEED" in os.environ:
        from deepspeed import comm  # pyright: ignore[reportMissingImports]

        comm.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)


def told(trainer: Any, names: Container[str]) -> Iterator[tuple[str, Any]]:
    """What `gathered` yields."""
    shards = [type(p).__name__ for p in trainer.model_wrapped.parameters()]
    sys.stderr.write(f"gathered from {type(trainer.model_wrapped).__name__} of {sorted(set(shards))}\n")
    return gather(trainer, names)


PartialState.__init__ = joined
policy.gathered = told

if __name__ == "__main__":
    main()

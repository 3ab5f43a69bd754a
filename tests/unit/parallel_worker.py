"""One process of several, started by torchrun from test_engine_parallel.py: trains a tiny run and saves what it became."""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def tell_threads(out: Path) -> None:
    """Write which threads of this process are left."""
    names = sorted((task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*"))
    (out / f"threads-{os.environ['RANK']}.json").write_text(json.dumps(names))


def main(out: Path, settings: str) -> None:
    import torch
    from safetensors.torch import save_file

    from pretune.engine.parallel import join_cluster
    from tiny import Rig, weights_of

    torch.set_num_threads(1)
    atexit.register(tell_threads, out)  # before the cluster's own: what is registered first runs last
    cluster = join_cluster()
    for number, options in enumerate(json.loads(settings)):
        rig = Rig(cluster=cluster, **options)
        steps = rig.train()
        save_file(weights_of(rig.model), out / f"{number}-{cluster.rank}.safetensors")
        told = [[s.loss, s.grad_norm, s.num_items, s.num_rows, s.num_tokens] for s in steps]
        (out / f"{number}-{cluster.rank}.json").write_text(json.dumps(told))
    flags = [cluster.any(cluster.rank == 1), cluster.any(False), cluster.sum([cluster.rank + 1.0, 0.5])]
    own = torch.nn.Parameter(torch.full((3, 2), cluster.rank + 0.25))
    cluster.spread([own])
    flags.append(own.flatten().tolist())
    (out / f"cluster-{cluster.rank}.json").write_text(json.dumps(flags))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""The ranks of one job, as torchrun starts them: who predicts which batches, and how the answers come together.

Ranks predict, rank 0 measures: batches are fixed by the order of the images and the batch size, rank r takes
`batches[r::world]`, and what they answered is joined in the order of the batches. So no number depends on how many
ranks there are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from nsbench.errors import ConfigError, NsbenchError

T = TypeVar("T")

_PATIENCE = datetime.timedelta(hours=6)
"""How long a rank waits for another: rank 0 may decode all of ImageNet's validation images first."""
_GLANCE_SECONDS = 0.02
"""Between two looks for a rank that is starting."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that share one job; alone, all of it costs nothing."""

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this rank writes, measures and speaks."""
        return self.rank == 0

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """The items that this rank works on: `items[rank::world]`."""
        return items[self.rank :: self.world]

    def joined(self, work: Callable[[], Mapping[int, T]]) -> dict[int, T]:
        """`work()` of all ranks together, by ascending key, on every rank.

        Raises:
            NsbenchError: the work of a rank ended in one; all ranks raise that of the lowest, and none hangs.
        """
        if self.world == 1:
            return dict(sorted(work().items()))
        import torch.distributed as dist

        mine: Mapping[int, T] | NsbenchError
        try:
            mine = work()
        except NsbenchError as error:
            mine = error
        gathered: list[Any] = [None] * self.world
        with losses_told():
            dist.all_gather_object(gathered, mine)
        for part in gathered:
            if isinstance(part, NsbenchError):
                raise part
        return dict(sorted((key, value) for part in gathered for key, value in part.items()))

    def first(self, work: Callable[[], T]) -> T:
        """`work()` done by rank 0 while the others wait; its result on every rank.

        Raises:
            NsbenchError: rank 0's, on every rank.
        """
        return self.joined(lambda: {0: work()} if self.is_main else {})[0]

    def raised(self, error: NsbenchError | None) -> None:
        """Raise what went wrong on one rank on all of them; where nothing did it costs next to nothing.

        Raises:
            NsbenchError: that of the lowest rank that has one.
        """

        def work() -> dict[int, None]:
            if error is not None:
                raise error
            return {}

        if self.world > 1:
            import torch
            import torch.distributed as dist

            failed = torch.tensor(int(error is not None))
            with losses_told():
                dist.all_reduce(failed)
            if not failed:
                return
        self.joined(work)


def is_main() -> bool:
    """Whether this process speaks for its job, told from the environment alone."""
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


@contextlib.contextmanager
def losses_told() -> Iterator[None]:
    """Within it a rank whose partner is gone says so in one line.

    Raises:
        NsbenchError: another rank was killed, or has left with an error of its own.
    """
    import torch.distributed as dist

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise NsbenchError(
            f"rank {os.environ.get('RANK', '?')} has lost another rank, which was killed or says why it left; "
            "the same command continues"
        ) from None


@contextlib.contextmanager
def connected() -> Iterator[Ranks]:
    """The ranks that torchrun started, connected through gloo, and through NCCL for what lies on GPUs.

    A single one where nothing was started.

    Raises:
        ConfigError: the environment names ranks that cannot be reached.
    """
    said = os.environ.get("WORLD_SIZE", "1")
    if not said.isdecimal() or not int(said):
        raise ConfigError(f"WORLD_SIZE is {said!r}, not a number of ranks; unset it, or start with torchrun")
    world = int(said)
    if world == 1:
        yield Ranks()
        return
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, world = next(rendezvous("env://", timeout=_PATIENCE))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=PrefixStore(_name_of_start(store, rank, world), store),
            rank=rank,
            world_size=world,
            timeout=_PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"rank {os.environ.get('RANK', '?')} of {world} cannot join the others "
            f"({str(error).splitlines()[0]}); start all of them with torchrun"
        ) from None
    try:
        yield Ranks(rank=dist.get_rank(), world=world)
    finally:
        dist.destroy_process_group()


def _name_of_start(store: Any, rank: int, world: int) -> str:
    """A name for this start of the job that all its ranks agree on and none before it had.

    torchrun keeps one store for all its restarts, with the addresses of ranks that are gone; a rank that reads those
    fails, or waits for ever (pytorch issue 135712). Its count of restarts is no name: each machine has its own. So
    every rank shows a number that nobody has seen, and believes the name that answers to it, rank 0's number.
    """
    mine = uuid.uuid4().hex
    if rank:
        store.set(f"rank {rank}", mine)
        _wait_for(store, f"answer to {mine}")
        name: str = store.get(f"answer to {mine}").decode()
        store.set(f"{name} heard by {rank}", "")
        return name
    for other in range(1, world):
        while not store.check([f"{mine} heard by {other}"]):
            _wait_for(store, f"rank {other}")
            store.set(f"answer to {store.get(f'rank {other}').decode()}", mine)
            time.sleep(_GLANCE_SECONDS)
    return mine


def _wait_for(store: Any, key: str) -> None:
    """In Python, where a signal is heard; torch waits deaf."""
    while not store.check([key]):
        time.sleep(_GLANCE_SECONDS)

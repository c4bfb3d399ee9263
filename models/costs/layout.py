"""How a model lies on the GPUs of a trial: replicas, or shards. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

REPLICATED_PARAMS = 1_600_000_000
"""Most parameters of an LLM of which each GPU has a replica: the models that are called 1.5B. With gradients and
optimiser states it takes 16 bytes each, 25 GB; gathering the weights of every layer would cost more than it saves."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a trial's LLM lies on its GPUs, and whether layers are computed again in the backward pass."""

    shard: int = 1
    """Number of GPUs over which the weights are sharded."""
    replicas: int = 1
    """Number of such groups of GPUs, each of which has all weights."""
    checkpointing: bool = False

    @property
    def gpus(self) -> int:
        """Number of GPUs of the trial."""
        return self.shard * self.replicas

    def __str__(self) -> str:
        """The layout in words, for people."""
        copies = f"replicated on {self.replicas} GPUs" if self.replicas > 1 else "on one GPU"
        if self.shard > 1:
            copies = f"sharded over {self.shard} GPUs"
            copies += f", replicated {self.replicas} times" if self.replicas > 1 else ""
        return copies + (", with checkpointing" if self.checkpointing else "")


def layouts(llm_params: int, gpus: int, nodes: int = 1) -> list[Layout]:
    """The layouts that come into question, the best first; the first that fits into memory is right.

    Small LLMs are replicated. Larger ones are sharded over the GPUs of a node, between which communication is fast, and
    replicated across nodes; so are small ones of which a GPU cannot hold a replica, and what fits on no node is sharded
    over all of them. Of the same shards, those without checkpointing come first: it costs a quarter of the speed.

    Args:
        llm_params: parameters of the LLM.
        gpus: number of GPUs on each node.
        nodes: number of nodes.
    """
    small = [1] if llm_params <= REPLICATED_PARAMS else []
    shards = dict.fromkeys([*small, gpus, gpus * nodes])
    return [
        Layout(shard=shard, replicas=gpus * nodes // shard, checkpointing=checkpointing)
        for shard in shards
        for checkpointing in (False, True)
    ]

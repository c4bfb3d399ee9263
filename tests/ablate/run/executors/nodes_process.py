"""A Ray cluster of several nodes on this machine, in a process of its own that obeys lines on its standard input.

`add CPUS GPUS NAME` prints the new node's id; its processes have NODE_NAME. `remove ID` kills a node. `announce CPUS
GPUS` says what the autoscaler says at its start: that it may start nodes. The end of the input ends the cluster.
"""

from __future__ import annotations

import sys

from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

STORE = {"object_store_memory": 80 * 2**20}


def announce(address: str, cpus: int, gpus: int) -> None:
    group = NodeGroupConfig(name="gpu", max_count=2, resources={"CPU": cpus, "GPU": gpus})
    GcsClient(address=address).report_cluster_config(ClusterConfig(node_group_configs=[group]).SerializeToString())


def serve() -> None:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, **STORE}
    )
    print(cluster.address, flush=True)
    nodes = {}
    try:
        for line in sys.stdin:
            action, *arguments = line.split()
            if action == "add":
                resources = {"num_cpus": int(arguments[0]), "num_gpus": int(arguments[1])}
                node = cluster.add_node(**resources, env_vars={"NODE_NAME": arguments[2]}, **STORE)
                nodes[node.node_id] = node
                print(node.node_id, flush=True)
            elif action == "announce":
                announce(cluster.address, *map(int, arguments))
                print("announced", flush=True)
            else:
                cluster.remove_node(nodes.pop(arguments[0]), allow_graceful=False)
                print("removed", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    serve()

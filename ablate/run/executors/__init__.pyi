from .address import check_address as check_address
from .cluster import Cluster as Cluster
from .on_ray import run_on_ray as run_on_ray

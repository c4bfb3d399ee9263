from .agent import Agent as Agent
from .agent import Ended as Ended
from .agent import free_port as free_port
from .contract import NodeRole as NodeRole
from .processes import end_leftovers as end_leftovers
from .watch import Patience as Patience

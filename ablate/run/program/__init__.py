"""The contract with a training program of the user's own: its command, and the files that it reads and writes.

No torch, no Ray, no processes: the agent starts and watches them. docs/trainers.md is the contract for users.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

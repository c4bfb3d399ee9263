from . import consistency as consistency
from . import imports as imports
from . import live as live
from . import mlflow as mlflow
from . import plan as plan
from . import promotion as promotion
from . import ranking as ranking
from . import sweep as sweep

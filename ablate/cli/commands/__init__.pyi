from . import data as data
from . import imports as imports
from . import kept as kept
from . import mlflow as mlflow
from . import promotion as promotion
from . import study as study
from . import sweep as sweep
from . import trial as trial

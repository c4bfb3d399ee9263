from .loop import DivergedError as DivergedError
from .loop import train as train
from .muon import Muon32 as Muon32
from .optimizers import make_optimizers as make_optimizers
from .parts import freeze as freeze
from .parts import train_mode as train_mode

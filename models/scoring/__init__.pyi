from .multiple_choice import MODALITIES as MODALITIES
from .multiple_choice import evaluate as evaluate
from .multiple_choice import letter_shares as letter_shares
from .multiple_choice import scores as scores

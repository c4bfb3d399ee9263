from .asking import Reply as Reply
from .asking import VideoQuestion as VideoQuestion
from .asking import ask as ask
from .evaluation import EvaluationRequest as EvaluationRequest
from .evaluation import evaluate_kept as evaluate_kept
from .model import KeptModel as KeptModel
from .model import export_kept as export_kept
from .model import weights_of as weights_of

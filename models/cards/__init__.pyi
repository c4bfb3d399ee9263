from .encoders import encoder_card as encoder_card
from .llms import LLMS as LLMS
from .llms import SCALES as SCALES
from .llms import LlmCard as LlmCard
from .llms import llm_card as llm_card
from .llms import misspelt as misspelt
from .tower_cards import EncoderCard as EncoderCard

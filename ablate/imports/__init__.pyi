from .dry_run import Preview as Preview
from .dry_run import preview as preview
from .layout import LayoutOptions as LayoutOptions
from .take_in import Imported as Imported
from .take_in import import_scores as import_scores

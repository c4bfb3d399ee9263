from .folders import folders_of as folders_of
from .folders import index_manifests as index_manifests
from .report import BadMedium as BadMedium
from .report import FolderReport as FolderReport
from .report import check_folder as check_folder

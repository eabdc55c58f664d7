from . import generated as generated
from .catalog import check_dataset_name as check_dataset_name
from .catalog import describe_dataset as describe_dataset
from .catalog import list_datasets as list_datasets
from .catalog import load_dataset as load_dataset
from .clips import Clips as Clips
from .fetching import fetch as fetch
from .fetching import verify as verify

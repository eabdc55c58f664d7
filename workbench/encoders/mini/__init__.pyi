from . import evaluation as evaluation
from . import sounds as sounds
from . import training as training
from .network import Mini as Mini
from .network import MiniConfig as MiniConfig
from .network import MiniNet as MiniNet
from .network import load_mini as load_mini
from .network import save_mini as save_mini

from .model import SparseNMF as SparseNMF
from .solving import activations as activations
from .solving import objective as objective

from .embedding import embed as embed
from .result import Embeddings as Embeddings
from .store import Store as Store

"""``mini``, the built-in encoder: its network and weights, and the training, sounds and measurements that made it."""

from .network import Mini, MiniConfig, MiniNet, load_mini, save_mini

__all__ = ["Mini", "MiniConfig", "MiniNet", "load_mini", "save_mini"]

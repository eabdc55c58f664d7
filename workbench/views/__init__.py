"""What a person sees and hears: maps that sound, tables of players, and plots.

``sound_map`` and ``players`` return objects that display themselves as HTML which plays without kernel and network;
``layer_curve``, ``layer_heatmap``, ``confusion_matrix``, ``spectrogram`` and ``audio_grid`` return matplotlib figures.
"""

from .maps import SoundMap, sound_map
from .players import Players, players
from .plots import confusion_matrix, layer_curve, layer_heatmap
from .projection import Projection, project
from .spectrograms import audio_grid, spectrogram

__all__ = [
    "Players",
    "Projection",
    "SoundMap",
    "audio_grid",
    "confusion_matrix",
    "layer_curve",
    "layer_heatmap",
    "players",
    "project",
    "sound_map",
    "spectrogram",
]

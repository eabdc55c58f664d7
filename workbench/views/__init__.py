"""What a person sees and hears: maps that sound, tables of players, pages of latents, and plots.

``sound_map``, ``players``, ``latent_page`` and ``decision_page`` return objects that display themselves as HTML which
plays without kernel and network, ``turnable`` one that turns. ``layer_curve``, ``layer_heatmap``,
``confusion_matrix``, ``spectrogram`` and ``audio_grid`` return matplotlib figures, as do the charts of tidy tables:
``curves``, ``heatmap``, ``intervals`` and ``scatter``.
"""

from .charts import curves, heatmap, intervals, scatter
from .decisions import DecisionPage, decision_page
from .latents import LatentPage, latent_page
from .latents_data import latent_statistics
from .maps import SoundMap, sound_map
from .players import Players, players
from .plots import confusion_matrix, layer_curve, layer_heatmap
from .projection import Projection, project
from .space import Turnable, turnable
from .spectrograms import audio_grid, spectrogram

__all__ = [
    "DecisionPage",
    "LatentPage",
    "Players",
    "Projection",
    "SoundMap",
    "Turnable",
    "audio_grid",
    "confusion_matrix",
    "curves",
    "decision_page",
    "heatmap",
    "intervals",
    "latent_page",
    "latent_statistics",
    "layer_curve",
    "layer_heatmap",
    "players",
    "project",
    "scatter",
    "sound_map",
    "spectrogram",
    "turnable",
]

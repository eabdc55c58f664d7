"""What a person sees and hears: maps that sound, tables of players, pages of latents, and plots.

``sound_map``, ``players``, ``latent_page``, ``decision_page``, ``interpretation_page`` and ``listening_test`` return
objects that display themselves as HTML which plays without kernel and network, ``turnable`` one that turns.
``layer_curve``, ``layer_heatmap``, ``confusion_matrix``, ``spectrogram``, ``audio_grid`` and ``dictionary_picture``
return matplotlib figures, as do the charts of tidy tables: ``curves``, ``heatmap``, ``intervals`` and ``scatter``.
"""

from .charts import curves, heatmap, intervals, scatter
from .decisions import DecisionPage, decision_page
from .interpretations import InterpretationPage, interpretation_page
from .latents import LatentPage, latent_page
from .latents_data import latent_statistics
from .listening import ListeningTest, ListeningTrial, listening_test
from .maps import SoundMap, sound_map
from .players import Players, players
from .plots import confusion_matrix, layer_curve, layer_heatmap
from .projection import Projection, project
from .responses import analyse_responses, read_responses
from .space import Turnable, turnable
from .spectrograms import audio_grid, dictionary_picture, spectrogram

__all__ = [
    "DecisionPage",
    "InterpretationPage",
    "LatentPage",
    "ListeningTest",
    "ListeningTrial",
    "Players",
    "Projection",
    "SoundMap",
    "Turnable",
    "analyse_responses",
    "audio_grid",
    "confusion_matrix",
    "curves",
    "decision_page",
    "dictionary_picture",
    "heatmap",
    "interpretation_page",
    "intervals",
    "latent_page",
    "latent_statistics",
    "layer_curve",
    "layer_heatmap",
    "listening_test",
    "players",
    "project",
    "read_responses",
    "scatter",
    "sound_map",
    "spectrogram",
    "turnable",
]

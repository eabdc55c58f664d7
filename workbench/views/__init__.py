"""What a person sees and hears: maps that sound, tables of players, pages of latents, and plots.

``sound_map``, ``players``, ``latent_page``, ``decision_page``, ``interpretation_page``, ``prototype_page``,
``similarity_page``, ``sounds_by_setting`` and ``listening_test`` return objects that display themselves as HTML which
plays without kernel and network, ``turnable`` one that turns.
``layer_curve``, ``layer_heatmap``, ``confusion_matrix``, ``spectrogram`` and ``dictionary_picture``
return matplotlib figures, as do the charts of tidy tables: ``curves``, ``heatmap``, ``intervals`` and ``scatter``.
"""

from .charts import curves, heatmap, intervals, scatter
from .decisions import DecisionPage, decision_page
from .interpretations import InterpretationPage, interpretation_page
from .latents import LatentPage, latent_page
from .latents_data import latent_statistics
from .listening import ListeningTest, ListeningTrial, analyse_responses, listening_test, read_responses
from .maps import SoundMap, sound_map
from .players import Players, players
from .plots import confusion_matrix, layer_curve, layer_heatmap
from .projection import Projection, project
from .prototype_maps import DataPoints
from .prototype_pages import PrototypePage, PrototypeSounds, RealClip, prototype_page
from .settings import SettingsPage, sounds_by_setting
from .similarity_pages import ExplainedClip, SimilarityPage, similarity_page
from .space import Turnable, turnable
from .spectrograms import dictionary_picture, spectrogram

__all__ = [
    "DataPoints",
    "DecisionPage",
    "ExplainedClip",
    "InterpretationPage",
    "LatentPage",
    "ListeningTest",
    "ListeningTrial",
    "Players",
    "Projection",
    "PrototypePage",
    "PrototypeSounds",
    "RealClip",
    "SettingsPage",
    "SimilarityPage",
    "SoundMap",
    "Turnable",
    "analyse_responses",
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
    "prototype_page",
    "read_responses",
    "scatter",
    "similarity_page",
    "sound_map",
    "sounds_by_setting",
    "spectrogram",
    "turnable",
]

"""What a person sees and hears: maps that sound, tables of players, pages of latents, and plots.

``sound_map``, ``explore``, ``players``, ``latent_page``, ``decision_page``, ``interpretation_page``,
``prototype_page``, ``similarity_page``, ``sounds_by_setting`` and ``listening_test`` return objects that display
themselves as HTML which plays without kernel and network, ``turnable`` one that turns.
``layer_curve``, ``layer_heatmap``, ``confusion_matrix``, ``spectrogram`` and ``dictionary_picture``
return matplotlib figures, as do the charts of tidy tables: ``curves``, ``heatmap``, ``intervals`` and ``scatter``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

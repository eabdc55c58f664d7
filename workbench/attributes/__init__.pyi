from .agreeing import agreement as agreement
from .loudness import integrated_loudness as integrated_loudness
from .loudness import loudness_track as loudness_track
from .measuring import measure as measure
from .pitch import pitch_track as pitch_track
from .result import Attributes as Attributes
from .result import attribute_entropy as attribute_entropy

from . import notes as notes
from . import scenes as scenes
from . import scenes_multi as scenes_multi
from . import utterances as utterances
from . import voices as voices

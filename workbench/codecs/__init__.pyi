from .interface import Codec as Codec
from .mel import MelCodec as MelCodec
from .registry import list_codecs as list_codecs
from .registry import load_codec as load_codec

"""What a call costs: an estimate before it goes, the true usage after.

vocabulary  the encodings, from package data, hash checked
tokens      text -> number of tokens; model -> encoding
content     parts of messages; images, files and sounds are priced, never read as text
images      what an image, a file, a sound counts
tools       descriptions of tools and schemas
bodies      the five request formats
estimate    body -> Estimate
scanner     finds a few values in a JSON text of any length, piece by piece
usage       taps: reply -> true usage
"""

from .estimate import Estimate, estimate
from .usage import Tap, tap
from .vocabulary import NotBuilt, VocabularyDamaged, load

__all__ = ["Estimate", "NotBuilt", "Tap", "VocabularyDamaged", "estimate", "load", "tap"]

"""What a call costs: an estimate before it goes, the true usage after.

vocabulary  the encodings, from package data, hash checked
tokens      text -> number of tokens; model -> encoding
content     parts of messages; images, files and sounds are priced, never read as text
images      what an image, a file, a sound counts
tools       descriptions of tools and schemas
bodies      the five request formats
estimate    body -> Estimate
scanner     finds a few values in a JSON text of any length, piece by piece
taps        reply -> true usage, while it flows past
usage       what an upstream says a call did cost, in one form
produced    what a stream that broke off has cost
streamusage asks an upstream to tell usage in a stream, and takes the answer out again
"""

from .estimate import Estimate, estimate
from .taps import Tap, tap
from .usage import Usage
from .vocabulary import NotBuilt, VocabularyDamaged, load

__all__ = ["Estimate", "NotBuilt", "Tap", "Usage", "VocabularyDamaged", "estimate", "load", "tap"]

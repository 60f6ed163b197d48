"""What a call costs: an estimate before it goes, the true usage after.

vocabulary  the encodings, from package data, hash checked
tokens      text -> number of tokens; model -> encoding
counts      what was counted before
margins     how many tokens a model makes of one of ours: what is known, what usage teaches
content     parts of messages; images, files and sounds are priced, never read as text
images      what an image counts;  pixels: how large it is;  documents: what a file counts
tools       descriptions of tools and schemas
bodies      the request formats of OpenAI and Anthropic;  gemini: of Gemini
audio       how long a sound lasts;  containers/: in each kind of file
upload      what an upload of audio is;  multipart: the parts of its form
document    body -> JSON object;  models: where the name of the model stands
estimate    body -> Estimate
scanner     finds a few values in a JSON text of any length, piece by piece
usage       taps: reply -> true usage
"""

from .estimate import Estimate, estimate
from .tokens import NotAtOnce
from .usage import Tap, tap
from .vocabulary import VocabularyDamaged, load

__all__ = ["Estimate", "NotAtOnce", "Tap", "VocabularyDamaged", "estimate", "load", "tap"]

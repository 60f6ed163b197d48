"""What a call costs: an estimate before it goes, the true usage after.

vocabulary  the encodings, from package data, hash checked
tokens      text -> number of tokens; model -> encoding
counts      what was counted before
margins     how many tokens a model makes of one of ours: what is known, what usage teaches
content     parts of messages; images, files and sounds are priced, never read as text
images      what an image counts;  pixels: how large it is;  documents: what a file counts;  pdf: how many pages it has
base64text  files as they stand in JSON
tools       descriptions of tools and schemas
bodies      the request formats of OpenAI and Anthropic;  gemini: of Gemini
audio       how long a sound lasts;  containers/: in each kind of file
upload      what an upload of audio is;  multipart: the parts of its form
document    body -> JSON object;  models: where the name of the model stands
estimate    body -> Estimate
scanner     finds a few values in a JSON text of any length, piece by piece
taps        reply -> true usage, while it flows past
usage       what an upstream says a call did cost, in one form
produced    what a stream that broke off has cost
streamusage asks an upstream to tell usage in a stream, and takes the answer out again
"""

from .estimate import Estimate, estimate
from .taps import Tap, tap
from .tokens import NotAtOnce
from .usage import Usage
from .vocabulary import VocabularyDamaged, load

__all__ = ["Estimate", "NotAtOnce", "Tap", "Usage", "VocabularyDamaged", "estimate", "load", "tap"]

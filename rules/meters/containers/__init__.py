"""How long an upload of audio lasts, by container: what a decoder would find in it, not what its header claims.

Law: a reader counts the frames or packets that a decoder would play, so that no field a client can write makes audio
shorter than it is; bytes it cannot account for last as long as the thinnest audio could. It never fails, copies little,
and its steps are bounded.

duration    what is found in a file, and the bounds of it
mpegaudio   MPEG audio (mp3, mp2) and AAC in ADTS frames
riff        WAV
flac        FLAC
ogg         Ogg pages: Opus, Vorbis
opus        how long an Opus packet plays;  vorbis: the same of Vorbis
packets     how long packets play, by codec
mp4         MP4, M4A, QuickTime, whole or in fragments
webm        WebM and Matroska, recorded live or whole
program     MPEG program streams
"""

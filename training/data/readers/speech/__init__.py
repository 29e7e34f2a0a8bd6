"""Speech with its transcripts: tables of sound files and texts, arrays of frames, and folders as corpora have them."""

"""`unroll transcribe`: sounds and microphones as text, JSON lines or subtitles."""

"""What goes wrong with audio."""


class AudioError(ValueError):
    """A file that cannot be decoded; the message names the file and the reason."""

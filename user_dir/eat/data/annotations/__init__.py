"""Labels and splits as people have them: folders, tables, published data sets.

Each source has one call that writes manifests and returns an `eat.data.writing.Listing`.
"""

from eat.lazy import export

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "list_audioset": "audioset",
        "list_esc50": "esc50",
        "list_folder": "folder",
        "list_speech_commands": "speech_commands",
    },
)

"""Labels and splits as people have them: folders, tables, published data sets.

Each source has one call that writes manifests and label files to the folder `out` and returns an
`eat.data.writing.Listing`. What these calls have in common: `force` replaces files of an earlier
run, `num_workers` threads read headers. They raise a FileExistsError if `out` has such files, a
FileNotFoundError if an input is missing, and a ValueError if an input is bad or no clip is usable.
"""

from eat.lazy import export

__getattr__, __dir__, __all__ = export(
    __name__,
    {
        "FolderConfig": "folder",
        "list_audioset": "audioset",
        "list_esc50": "esc50",
        "list_folder": "folder",
        "list_speech_commands": "speech_commands",
    },
)

"""What surrounds an update: guards, bad audio, exact resume, files, the record of a run."""

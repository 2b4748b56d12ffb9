"""Labels and splits as people have them: folders, tables, published data sets."""

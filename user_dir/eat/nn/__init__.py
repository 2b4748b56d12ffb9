"""The networks, in plain torch; nothing here knows fairseq."""

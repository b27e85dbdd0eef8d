"""The custody of data subjects' keys: a database of its own, and the only place from which a personal value can be opened."""

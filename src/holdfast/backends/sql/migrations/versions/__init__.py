"""One file per migration, `vNNNN_name.py`."""

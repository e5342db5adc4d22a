"""One file or folder per outside thing (database, files, registry, runtime, alert sinks). The workspace alone imports them."""

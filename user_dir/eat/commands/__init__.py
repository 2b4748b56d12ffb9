"""The `eat` command line: one module per subcommand, listed in `main`."""

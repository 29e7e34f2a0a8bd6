"""The training subcommands of `unroll`."""

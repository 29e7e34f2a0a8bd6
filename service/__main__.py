"""`python -m service` is the command `unroll`."""

from service.cli.commands import main

if __name__ == "__main__":
    main()

"""`python -m ablate.cli` is `ablate`."""

from ablate.cli.app import main

if __name__ == "__main__":
    main()

"""``python -m wsiseg``: the command line, for where the script is not on the path."""

from wsiseg.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m exporter` and the command `modelarts-exporter`."""

from exporter.commands import main

if __name__ == "__main__":
    main()

"""``python -m ddselect``."""

from ddselect.cli import main

main()

"""``python -m workbench`` does what ``workbench`` does."""

from workbench.cli import main

main()

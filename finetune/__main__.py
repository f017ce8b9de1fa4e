"""`python -m finetune` is the command line; everything it can do stands in finetune/cli.py."""

import sys

from finetune.cli import main

sys.exit(main())

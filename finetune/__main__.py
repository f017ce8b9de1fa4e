"""`python -m finetune` is the command line; everything it can do stands in finetune/cli.py."""

import sys

try:
    from finetune.cli import main

    sys.exit(main())
except KeyboardInterrupt:  # before the command line can say it better
    sys.exit(130)

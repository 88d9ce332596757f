"""`python -m andon`."""

import sys

from andon.cli import main

sys.exit(main())

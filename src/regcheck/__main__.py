"""`python -m regcheck` is `regcheck`."""

import sys

from regcheck.cli.main import main

sys.exit(main())

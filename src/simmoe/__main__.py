"""python -m simmoe"""

import sys

from simmoe.cli.main import main

sys.exit(main())

"""Go on from somebody else's checkpoints."""

import sys

from _two_stages import go_on

go_on(sys.argv[2])

from nncore_compat.hooks.lr_updater import *

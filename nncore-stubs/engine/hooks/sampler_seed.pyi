from nncore_compat.hooks.sampler_seed import *

"""The same scripts under nncore 0.4.7 and under nncore_compat, compared at zero tolerance."""

"""How fast nncore_compat is beside nncore, a plain PyTorch loop and Lightning."""

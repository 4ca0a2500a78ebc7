from .clips import Clips

__all__ = ['Clips']

from .freeze import FreezeHook

__all__ = ['FreezeHook']

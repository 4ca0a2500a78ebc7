"""The writers of `EventWriterHook`, one per module; `hooks.writer` has them under nncore's path."""

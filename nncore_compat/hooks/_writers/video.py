"""Videos for TensorBoard without the old moviepy that torch asks for."""

import io
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch


def has_moviepy() -> bool:
    """Tell whether there is what `SummaryWriter.add_video` needs: moviepy 1."""
    return find_spec('moviepy') is not None and find_spec('moviepy.editor') is not None


def add_video(writer: Any, tag: str, videos: Any, global_step: int, fps: int = 4) -> None:
    """Do what `SummaryWriter.add_video` does, with Pillow; videos stand side by side.

    Args:
        writer: The SummaryWriter.
        tag: The tag.
        videos: Of shape (N, T, C, H, W): bytes, or numbers from 0 to 1.
        global_step: The step.
        fps: Frames per second.

    Raises:
        ValueError: They are of another shape.
    """
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    array = np.asarray(videos.detach().cpu() if torch.is_tensor(videos) else videos)
    if array.ndim != 5 or array.shape[2] not in (1, 3):
        raise ValueError(
            f'a video must be of shape (N, T, C, H, W) with 1 or 3 channels, got {array.shape}'
        )
    if array.dtype != np.uint8:
        array = (array.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
    number, length, channels, height, width = array.shape
    rows = array.transpose(1, 3, 0, 4, 2).reshape(length, height, number * width, channels)
    frames = [Image.fromarray(row.squeeze(-1) if channels == 1 else row) for row in rows]
    file = io.BytesIO()
    frames[0].save(
        file, 'GIF', save_all=True, append_images=frames[1:], duration=1000 // fps, loop=0
    )
    image = Summary.Image(
        height=height,
        width=number * width,
        colorspace=channels,
        encoded_image_string=file.getvalue(),
    )
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    writer._get_file_writer().add_summary(summary, global_step)

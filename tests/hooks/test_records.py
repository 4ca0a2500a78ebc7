"""Records of each type, as TensorBoard reads them and other libraries decode them."""

import io
import wave

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (
    STORE_EVERYTHING_SIZE_GUIDANCE,
    EventAccumulator,
)
from tensorboard.util import tensor_util

import nncore_compat as E
from nncore_compat.hooks._writers import video

from .fake_engine import FakeEngine, loaders

matplotlib.use('Agg')

import matplotlib.pyplot as plt


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    """What TensorBoard reads of one write; moviepy is not there."""
    folder = tmp_path_factory.mktemp('records')
    engine = FakeEngine(E.Buffer(), [], loaders(), [dict(epochs=1)], work_dir=str(folder))
    engine.mode, engine.iter = 'train', 6
    figure, axes = plt.subplots(figsize=(1, 1), dpi=20)
    figure.patch.set_facecolor((1, 0, 0))
    axes.axis('off')
    records = {
        'one_image_': torch.linspace(0, 1, 3 * 4 * 5).reshape(3, 4, 5),
        'two_images_': torch.linspace(0, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5),
        'a_figure_': figure,
        'beep_audio_': torch.sin(torch.arange(441) / 5),
        'my_words_text_': 'some *words*',
        'w_histogram_': torch.arange(100.0),
        'move_video_': torch.arange(240).reshape(2, 3, 1, 5, 8) / 255,
        'colour_video_': torch.tensor([1.0, 0, 0]).reshape(1, 1, 3, 1, 1).expand(1, 2, 3, 4, 4),
        'loss': 0.25,
        'parts': {'a': 1.0, 'b': 2.0},
        '_avg_factor': 1,
    }
    for key, value in records.items():
        engine.buffer.update(key, value)
    writer = E.TensorboardWriter()
    writer.open(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, 'find_spec', lambda name: None)
        writer.write(engine, 1)
    writer.close(engine)
    found = EventAccumulator(str(folder / 'tf_logs'), STORE_EVERYTHING_SIZE_GUIDANCE)
    return found.Reload()


def picture(log, tag):
    (event,) = log.Images(tag)
    assert event.step == 7
    return Image.open(io.BytesIO(event.encoded_image_string))


def test_pictures(log):
    pixels = np.asarray(picture(log, 'one/train'))
    expected = torch.linspace(0, 255, 60).reshape(3, 4, 5).permute(1, 2, 0)
    assert np.abs(pixels - expected.numpy()).max() <= 1
    # Side by side.
    assert np.asarray(picture(log, 'two/train')).shape == (4, 2 * 5, 3)
    assert np.asarray(picture(log, 'a/train'))[10, 10, :3].tolist() == [255, 0, 0]


def test_video(log):
    clip = picture(log, 'move/train')
    assert (clip.format, clip.n_frames, clip.size) == ('GIF', 3, (16, 5))
    both = np.arange(240).reshape(2, 3, 5, 8)
    for index in range(3):
        clip.seek(index)
        assert clip.info['duration'] == 250
        pixels = np.asarray(clip.convert('L'), dtype=int)
        assert np.abs(pixels - np.hstack(both[:, index])).max() <= 1
    assert picture(log, 'colour/train').convert('RGB').getpixel((1, 1)) == (255, 0, 0)


def test_audio(log):
    (event,) = log.Audio('beep/train')
    assert (event.step, event.content_type, event.sample_rate) == (7, 'audio/wav', 44100)
    with wave.open(io.BytesIO(event.encoded_audio_string)) as sound:
        samples = np.frombuffer(sound.readframes(-1), dtype='<i2')
    expected = torch.sin(torch.arange(441) / 5).numpy() * 32767
    assert np.abs(samples - expected).max() <= 1


def test_numbers_and_words(log):
    (event,) = log.Tensors('mywords/train/text_summary')
    assert tensor_util.make_ndarray(event.tensor_proto).tolist() == [b'some *words*']
    (event,) = log.Histograms('w/train')
    value = event.histogram_value
    assert (value.num, value.min, value.max, value.sum) == (100, 0, 99, 4950)
    (event,) = log.Scalars('loss/train')
    assert (event.step, event.value) == (7, 0.25)


def test_a_video_of_another_shape(tmp_path):
    with pytest.raises(ValueError, match=r'\(N, T, C, H, W\).*\(3, 8, 8\)'):
        video.add_video(None, 'x', torch.zeros(3, 8, 8), 1)

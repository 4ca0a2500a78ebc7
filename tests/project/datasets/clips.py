import random

import nncore
import numpy as np
import torch
from nncore.dataset import DATASETS, Dataset
from nncore.ops import temporal_iou
from nncore.parallel import DataContainer


@DATASETS.register()
class Clips(Dataset):
    """Made-up videos, each with one moment that a made-up query describes.

    Which videos there are depends on the state, as for a dataset whose annotations come in one
    file; until a state is set it is training.
    """

    def __init__(self, num_videos, dims=12, fps=0.5, jitter=0.1, seed=7):
        rng = np.random.default_rng(seed)
        self.label, self.video, self.query = {}, {}, {}
        self.vid = {split: [] for split in num_videos}
        for split, number in num_videos.items():
            for index in range(number):
                vid = f'{split}_{index:03d}'
                self.vid[split].append(vid)
                self.add_video(vid, rng, dims, fps)
        self.fps = fps
        self.jitter = jitter
        self.state = 'train'

    def add_video(self, vid, rng, dims, fps):
        length = int(rng.integers(5, 13))
        begin = int(rng.integers(0, length - 2))
        end = int(rng.integers(begin + 2, length + 1))
        query = rng.normal(size=(int(rng.integers(2, 5)), dims))
        video = rng.normal(size=(length, dims))
        video[begin:end] += query.mean(axis=0)
        self.video[vid], self.query[vid] = video, query
        self.label[vid] = dict(
            vid=vid, duration=length / fps, relevant_windows=[[begin / fps, end / fps]]
        )

    def set_state(self, state):
        self.state = 'train' if state == 'train' else 'val'

    def __len__(self):
        return len(self.vid[self.state])

    def __getitem__(self, idx):
        vid = self.vid[self.state][idx]
        data = dict()
        data = self.bind_video(vid, data)
        data = self.bind_saliency(vid, data)
        data['label'] = DataContainer(self.label[vid], cpu_only=True)
        data['fps'] = DataContainer(self.fps, cpu_only=True)
        data['index'] = idx
        return data

    def bind_video(self, vid, data):
        video, query = self.video[vid], self.query[vid]
        if self.state == 'train':
            video = video + np.random.normal(scale=self.jitter, size=video.shape)
        data['video'] = DataContainer(torch.from_numpy(video).float(), pad_value=float('inf'))
        data['query'] = DataContainer(torch.from_numpy(query).float(), pad_value=float('inf'))
        return data

    def bind_saliency(self, vid, data):
        boundary = torch.Tensor(self.label[vid]['relevant_windows']) * self.fps
        saliency = torch.zeros(data['video'].data.size(0))
        saliency[int(boundary[0, 0]) : int(boundary[0, 1])] = 1
        pos_clip = random.sample(saliency.nonzero()[:, 0].tolist(), 1)
        data['boundary'] = DataContainer(boundary, pad_value=float('inf'))
        data['saliency'] = DataContainer(saliency, pad_value=-1)
        data['pos_clip'] = DataContainer(torch.LongTensor(pos_clip), pad_dims=None)
        return data

    def evaluate(self, blobs, topk=1, dump_template=None, logger=None):
        assert len(blobs) == len(self)

        if dump_template is not None:
            path = dump_template.format(self.state)
            logger.info(f'Dumping inference outputs to {path}...')
            rows = [dict(b['label'], saliency=b['saliency'].tolist()) for b in blobs]
            nncore.dump(rows, path)
            return

        results = dict(mAP=self.mean_ap(blobs))
        if 'boundary' in blobs[0]:
            iou, error = self.compare_boundary(blobs)
            results['mIoU'] = round(iou[:, :topk].amax(dim=1).mean().item(), 5)
            for thres in (0.3, 0.5):
                hits = (iou[:, 0] >= thres).float()
                results[f'R1@{thres}'] = round(hits.mean().item(), 5)
            results['error'] = error

        width = max(len(key) for key in results)
        rows = [f'| {key:<{width}} | {value:.5f} |' for key, value in results.items()]
        nncore.log('\n'.join(['Results:', *rows]), logger=logger)
        return results

    def mean_ap(self, blobs):
        scores = []
        for blob in blobs:
            begin, end = (int(t * self.fps) for t in blob['label']['relevant_windows'][0])
            order = blob['saliency'].argsort(descending=True)
            hits = ((order >= begin) & (order < end)).float()
            precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
            scores.append((precision * hits).sum() / hits.sum())
        return round(torch.stack(scores).mean().item(), 5)

    def compare_boundary(self, blobs):
        iou, error = [], []
        for blob in blobs:
            target = torch.Tensor(blob['label']['relevant_windows'])
            iou.append(temporal_iou(blob['boundary'][:5, :2], target)[:, 0])
            error.append((blob['boundary'][0, :2] - target[0]).abs().mean())
        return torch.stack(iou), torch.stack(error).mean().item()

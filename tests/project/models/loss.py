import torch
import torch.nn as nn
import torch.nn.functional as F
from nncore.nn import LOSSES, build_loss


@LOSSES.register()
class SmoothedBCELoss(nn.Module):
    """Binary cross entropy with smoothed labels."""

    def __init__(self, smoothing=0.1):
        super().__init__()
        self.smoothing = smoothing

    def forward(self, pred, target):
        target = target * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(pred, target, reduction='none')


@LOSSES.register()
class SampledNCELoss(nn.Module):
    """Contrast of a sampled clip inside the moment with all others."""

    def __init__(self, weight=1.0, temperature=0.07):
        super().__init__()
        self.weight = weight
        self.scale = nn.Parameter(torch.tensor(1 / temperature).log())

    def forward(self, video_emb, query_emb, mask, pos_clip):
        scores = F.cosine_similarity(video_emb, query_emb, dim=-1) * self.scale.exp()
        scores = scores.masked_fill(mask == 0, float('-inf'))
        return F.cross_entropy(scores, pos_clip[:, 0]) * self.weight


@LOSSES.register()
class LocalizationLoss(nn.Module):
    """The losses of all heads, by name; the engine adds them up."""

    def __init__(self, loss_cls=None, loss_reg=None, loss_sal=None):
        super().__init__()
        # what hooks may change while training
        self.weights = dict(loss_cls=1.0, loss_reg=1.0)
        self.loss_cls = build_loss(loss_cls)
        self.loss_reg = build_loss(loss_reg)
        if loss_sal is not None:
            loss_sal = dict(loss_sal, type='SampledNCELoss')
        self.loss_sal = build_loss(loss_sal)

    def forward(self, data, output):
        mask = data['saliency'] >= 0
        loss = self.loss_cls(data['out_class'][:, :, 0], data['saliency'].clamp(min=0))
        output['loss_cls'] = (loss * mask).sum() / mask.sum() * self.weights['loss_cls']

        if self.loss_reg is not None:
            inside = (data['saliency'] == 1)[:, :, None]
            loss = self.loss_reg(data['out_coord'], self.distances(data)) * inside
            output['loss_reg'] = loss.sum() / inside.sum() * self.weights['loss_reg']

        if self.loss_sal is not None:
            output['loss_sal'] = self.loss_sal(
                data['video_emb'], data['query_emb'], mask, data['pos_clip']
            )
        return output

    def distances(self, data):
        point = torch.arange(data['saliency'].size(1), device=data['saliency'].device)
        begin, end = data['boundary'][:, 0, :, None].unbind(dim=1)
        return torch.stack((point - begin, end - point), dim=-1).clamp(min=0)

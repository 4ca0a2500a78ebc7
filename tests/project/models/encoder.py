from itertools import pairwise

import torch.nn as nn
from nncore.nn import MODELS, build_norm_layer


@MODELS.register()
class ConvEncoder(nn.Module):
    """Convolutions over time, each with normalization and dropout."""

    def __init__(self, in_dims, dims, num_layers=2, dropout=0.1, norm_cfg='BN1d'):
        super().__init__()
        sizes = [in_dims] + [dims] * num_layers
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 3, padding=1) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(build_norm_layer(norm_cfg, dims=dims) for _ in self.convs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x.transpose(1, 2))
            if isinstance(norm, nn.BatchNorm1d):
                x = norm(x).transpose(1, 2)
            else:
                x = norm(x.transpose(1, 2))
            x = self.dropout(x.relu()) * mask[:, :, None]
        return x

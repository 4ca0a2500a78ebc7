"""The models and data that are trained; the same modules for all contestants."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Net(nn.Module):
    """A classifier in the form that nncore asks for; logs two values.

    Args:
        layers: From inputs to ten logits.
        outputs: Number of further values in what ``forward`` returns.
        out_size: Number of floats per sample that ``forward`` returns for ``evaluate``.
    """

    def __init__(self, layers: nn.Module, outputs: int = 0, out_size: int = 10) -> None:
        super().__init__()
        self.layers = layers
        self.out_size = out_size
        self.outputs = outputs
        self.register_buffer('offsets', torch.arange(float(outputs)))

    def forward(self, data: Any, mode: str = 'train', **kwargs: Any) -> dict[str, Any]:
        inputs, labels = data
        logits = self.layers(inputs)
        loss = F.cross_entropy(logits, labels)
        output = {
            '_avg_factor': len(labels),
            'loss': loss,
            'acc': (logits.detach().argmax(1) == labels).float().mean(),
        }
        if self.outputs:
            values = (loss.detach() + self.offsets).unbind()
            output.update((f'value{index}', value) for index, value in enumerate(values))
        if mode != 'train':
            repeats = -(-self.out_size // 10)
            output['_out'] = logits.repeat(1, repeats)[:, : self.out_size]
        return output


def mlp(width: int = 32, **options: Any) -> Net:
    """Two layers on 16 numbers."""
    return Net(nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 10)), **options)


def cnn(channels_last: bool = False) -> Net:
    """Three convolutions with batch norm on 32x32 images."""

    def block(n: int, m: int) -> list[nn.Module]:
        return [nn.Conv2d(n, m, 3, 2, 1, bias=False), nn.BatchNorm2d(m), nn.ReLU()]

    layers = [*block(3, 16), *block(16, 32), *block(32, 64)]
    net = Net(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)))
    return net.to(memory_format=torch.channels_last) if channels_last else net


class _Transformer(nn.Module):
    def __init__(self, width: int = 320, depth: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, width)
        layer = nn.TransformerEncoderLayer(width, 8, 4 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth)
        self.head = nn.Linear(width, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(tokens)).mean(1))


def transformer() -> Net:
    """Eight layers of width 320, 10 million parameters, on 32 tokens."""
    return Net(_Transformer())


class _Many(nn.Module):
    def __init__(self, tensors: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(10) for _ in range(tensors))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs[:, :1] * torch.stack(list(self.weights)).mean(0)


def many(tensors: int) -> Net:
    """A model of as many parameter tensors of ten numbers each."""
    return Net(_Many(tensors))


NETS = {net.__name__: net for net in (mlp, cnn, transformer, many)}
SHAPES = {'mlp': (16,), 'cnn': (3, 32, 32), 'transformer': (32,), 'many': (16,)}


class Samples(Dataset):
    """Random inputs and labels, few enough to stay in the cache, given again and again."""

    def __init__(self, net: str, size: int, at_evaluate: Any = None) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (64, *SHAPES[net])
        self.inputs = torch.randn(shape, generator=generator)
        if net == 'transformer':
            self.inputs = torch.randint(256, shape, generator=generator)
        self.labels = torch.randint(10, (64,), generator=generator)
        self.size = size
        self.at_evaluate = at_evaluate

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index % 64], self.labels[index % 64]

    def evaluate(self, outputs: list[Any], **kwargs: Any) -> dict[str, Any]:
        """nncore asks for this after a validation or a test."""
        if self.at_evaluate is not None:
            self.at_evaluate()
        return {}


def build(spec: dict[str, Any]) -> nn.Module:
    """The model that a spec asks for, with the same weights for every contestant."""
    torch.manual_seed(0)
    net = NETS[spec['net']](**spec.get('net_options', {}))
    if spec.get('compiled'):
        # else the eighth round would silently go on without
        torch._dynamo.reset()
        return torch.compile(net)
    return net


def loader(spec: dict[str, Any], batches: int, collate: Any = None, **options: Any) -> DataLoader:
    """A shuffling loader of so many batches, read in the process that trains."""
    batch = spec.get('batch', 8)
    data = Samples(spec['net'], batches * batch, **options)
    return DataLoader(data, batch_size=batch, shuffle=True, collate_fn=collate)


def checksum(net: nn.Module) -> dict[str, float]:
    """What shows that contestants have trained the same."""
    with torch.no_grad():
        return {'weights': sum(float(weight.double().abs().sum()) for weight in net.parameters())}


def length(spec: dict[str, Any]) -> int:
    """Batches per epoch: the window is over before the end of the epoch begins."""
    return spec['skip'] + spec['iters'] + 2

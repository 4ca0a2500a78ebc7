"""A model that torch.compile takes whole, and the ways in which scripts compile it."""

import torch
import torch._dynamo as dynamo
import torch.nn.functional as F
from _lab import Net, note

GRAPHS = []


def backend(graph, inputs):
    """Count the graphs, and run them as they are: no compiler of the machine's is needed."""
    GRAPHS.append(graph)
    return graph.forward


class Compilable(Net):
    """The lab's classifier without its journal, at which the compiler would break the graph."""

    def forward(self, data, mode='train', **kwargs):
        x, y = data['x'], data['y']
        out = self.layers(x)
        result = dict(loss=F.cross_entropy(out, y), _avg_factor=len(y))
        if mode != 'train':
            result['_out'] = torch.cat((out.float(), y[:, None]), dim=1)
        return result


def whole(model):
    return torch.compile(model, backend=backend)


def part(model):
    model.layers = torch.compile(model.layers, backend=backend)
    return model


def in_place(model):
    model.compile(backend=backend)
    return model


WAYS = dict(whole=whole, part=part, in_place=in_place)


def begin_counting():
    """Forget all that was compiled."""
    dynamo.reset()
    dynamo.utils.counters.clear()
    GRAPHS.clear()


def note_graphs():
    """Record how much was compiled, and where it could not be."""
    breaks = dict(dynamo.utils.counters['graph_break'])
    note('graphs', count=len(GRAPHS), nodes=[len(g.graph.nodes) for g in GRAPHS], breaks=breaks)

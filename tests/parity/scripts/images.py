"""A small convolutional network on images, in the manner of the MNIST example."""

import torch
import torch.nn as nn
from nncore.engine import Engine, comm, set_random_seed
from torch.utils.data import DataLoader, TensorDataset


class ConvNet(nn.Module):
    """Two convolutions and a head."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3)
        )
        self.head = nn.Linear(8, 10)

    def forward(self, data, **kwargs):
        x, y = data
        out = self.head(self.body(x).amax((2, 3)))
        acc = (out.argmax(1) == y).float().mean()
        return dict(_avg_factor=x.size(0), loss=nn.functional.cross_entropy(out, y), acc=acc)


set_random_seed(5)
data = TensorDataset(torch.rand(50, 1, 12, 12), torch.randint(10, (50,)))
loaders = dict(
    train=DataLoader(data, batch_size=8, shuffle=True, num_workers=2),
    val=DataLoader(data, batch_size=20),
)
engine = Engine(ConvNet(), loaders)
engine.launch()
torch.save(engine.model.state_dict(), 'images.pt')
print(comm.get_dist_info(), comm.is_main_process(), comm.get_launcher())

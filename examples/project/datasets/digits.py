import torch
from nncore.dataset import DATASETS
from sklearn.datasets import load_digits
from torch.utils.data import Dataset


@DATASETS.register()
class Digits(Dataset):
    """The 1,797 handwritten digits that ship inside scikit-learn; every fifth is for validation."""

    def __init__(self, split, noise=0.0):
        images, labels = load_digits(return_X_y=True)
        held_out = torch.arange(len(labels)) % 5 == 4
        rows = held_out if split == 'val' else ~held_out
        self.images = torch.tensor(images, dtype=torch.float32)[rows].reshape(-1, 1, 8, 8) / 16
        self.labels = torch.tensor(labels)[rows]
        self.noise = noise

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, idx):
        image = self.images[idx]
        if self.noise:
            image = image + self.noise * torch.randn_like(image)
        return dict(image=image, label=self.labels[idx])

    def evaluate(self, blob, logger=None):
        return dict(accuracy=torch.cat(blob).float().mean().item())

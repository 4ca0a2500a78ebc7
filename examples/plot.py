"""Draws what a run wrote to metrics.json: the training loss, the learning rate, the accuracy.

python examples/plot.py work_dirs/TIME/metrics.json curves.png
"""

import json
import sys

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt


def main(metrics_file, image_file):
    with open(metrics_file) as f:
        records = [json.loads(line) for line in f]
    val = [r for r in records if r['mode'] == 'val']
    train = [r for r in records if r['mode'] == 'train']

    # a record says how far into which epoch it was written, not how long an epoch is
    length = max(r['iter'] for r in train)
    epochs = [r['epoch'] - 1 + r['iter'] / length for r in train]

    fig, axes = plt.subplots(1, 3, figsize=(10, 2.6), layout='constrained')
    axes[0].semilogy(epochs, [r['loss'] for r in train])
    axes[0].set_title('training loss')
    axes[1].plot(epochs, [r['lr'] for r in train])
    axes[1].set_title('learning rate')
    axes[2].plot([r['epoch'] for r in val], [r['accuracy'] for r in val], marker='o')
    axes[2].set_title(f'held-out accuracy: {val[-1]["accuracy"]:.1%}')
    for ax in axes:
        ax.set_xlabel('epoch')
        ax.grid(alpha=0.3)
    fig.savefig(image_file, dpi=100)


if __name__ == '__main__':
    main(*sys.argv[1:])

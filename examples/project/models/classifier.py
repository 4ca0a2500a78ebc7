import torch.nn as nn
import torch.nn.functional as F
from nncore.nn import MODELS, build_model


@MODELS.register()
class Classifier(nn.Module):
    """An encoder and a head, both from configs."""

    def __init__(self, encoder, head, label_smoothing=0.0):
        super().__init__()
        self.encoder = build_model(encoder)
        self.head = build_model(head)
        self.label_smoothing = label_smoothing

    def forward(self, data, mode, **kwargs):
        logits = self.head(self.encoder(data['image']))
        loss = F.cross_entropy(logits, data['label'], label_smoothing=self.label_smoothing)
        output = dict(_avg_factor=len(logits), loss=loss)
        if mode != 'train':
            # which ones are right: what Digits.evaluate gets of all batches
            output['_out'] = logits.argmax(1) == data['label']
        return output

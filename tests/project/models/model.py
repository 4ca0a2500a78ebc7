import torch
import torch.nn as nn
from nncore.nn import MODELS, build_loss, build_model, xavier_init_


@MODELS.register()
class Localizer(nn.Module):
    """Scores clips of a video by a query, and regresses the moment that it describes."""

    def __init__(
        self, in_dims, dims, video_enc=None, class_head=None, coord_head=None, loss_cfg=None
    ):
        super().__init__()
        # stands for the pretrained tower that such models have
        self.tower = nn.Sequential(nn.Linear(in_dims, in_dims), nn.Dropout(0.5))
        for param in self.tower.parameters():
            param.requires_grad = False

        self.video_enc = build_model(video_enc, in_dims, dims)
        self.query_enc = nn.Linear(in_dims, dims)
        self.class_head = build_model(class_head)
        self.coord_head = build_model(coord_head)
        self.coef = nn.Parameter(torch.ones(1))
        self.loss = build_loss(loss_cfg)

        self.apply(lambda m: xavier_init_(m) if isinstance(m, nn.Linear) else None)

    def train(self, mode=True):
        super().train(mode=mode)
        self.tower.eval()

    def forward(self, data, mode):
        video, query = data['video'], data['query']
        video_msk = torch.where(video[:, :, 0].isfinite(), 1, 0)
        query_msk = torch.where(query[:, :, 0].isfinite(), 1, 0)
        video[~video.isfinite()] = 0
        query[~query.isfinite()] = 0

        video = self.tower(video) + video
        query = (self.query_enc(query) * query_msk[:, :, None]).sum(dim=1, keepdim=True)
        query_emb = query / query_msk.sum(dim=1)[:, None, None]
        video_emb = self.video_enc(video, video_msk)
        fused = video_emb * query_emb

        with torch.autocast(video.device.type, enabled=False):
            video_emb, query_emb, fused = video_emb.float(), query_emb.float(), fused.float()
            out_class = self.class_head(fused)
            out_coord = None
            if self.coord_head is not None:
                out_coord = self.coord_head(fused).clamp(max=4).exp() * self.coef

            output = dict(_avg_factor=video.size(0))

            if mode != 'test':
                data['video_emb'], data['query_emb'] = video_emb, query_emb
                data['out_class'], data['out_coord'] = out_class, out_coord
                output = self.loss(data, output)

            if mode != 'train':
                assert video.size(0) == 1, 'batches are not supported for inference'
                output['_out'] = dict(label=data['label'][0], saliency=out_class[0, :, 0].sigmoid())
                if out_coord is not None:
                    output['_out']['boundary'] = self.decode(out_class[0], out_coord[0], data)

        return output

    def decode(self, out_class, out_coord, data):
        point = torch.arange(out_class.size(0), device=out_class.device)
        begin, end = point - out_coord[:, 0], point + out_coord[:, 1]
        boundary = torch.stack((begin, end, out_class[:, 0].sigmoid()), dim=-1)
        boundary[:, :2] /= data['fps'][0]
        return boundary[out_class[:, 0].argsort(descending=True)]

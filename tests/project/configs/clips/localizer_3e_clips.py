_base_ = [
    '../_base_/models/localizer.py',
    '../_base_/datasets/clips.yml',
    '../_base_/schedules/default.yml',
    '../_base_/runtime.yml',
]

"""Trains or evaluates what a config describes; see README.md beside this folder."""

import argparse

import nncore
from nncore.engine import Engine, comm, set_random_seed
from nncore.nn import build_model


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument('config', help='config file')
    parser.add_argument('--checkpoint', help='load a checkpoint')
    parser.add_argument('--resume', help='resume from a checkpoint')
    parser.add_argument('--work_dir', help='working directory')
    parser.add_argument('--eval', help='evaluation mode', action='store_true')
    parser.add_argument('--amp', help='amp data type', default='none')
    parser.add_argument('--launcher', help='job launcher')
    return parser.parse_args()


def main():
    args = parse_args()
    cfg = nncore.Config.from_file(args.config)
    launcher = comm.init_dist(launcher=args.launcher)

    work_dir = log_file = None
    if comm.is_main_process() and not args.eval:
        work_dir = args.work_dir or nncore.join('work_dirs', nncore.pure_name(args.config))
        work_dir = nncore.mkdir(work_dir, modify_path=args.work_dir is None)
        log_file = nncore.join(work_dir, f'{nncore.get_timestamp()}.log')
    logger = nncore.get_logger(log_file=log_file)
    logger.info(f'Launcher: {launcher}')
    logger.info(f'Config: {cfg.text}')

    seed = set_random_seed(cfg.seed)
    model = build_model(cfg.model, dist=bool(launcher))
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info(f'Learnable parameters: {params}')

    # the batch size of the config is that of all processes together
    cfg.data.train.loader.batch_size //= comm.get_world_size()

    engine = Engine(
        model,
        cfg.data,
        stages=cfg.stages,
        hooks=cfg.hooks,
        work_dir=work_dir,
        seed=seed,
        amp=args.amp,
    )
    if args.checkpoint:
        engine.load_checkpoint(args.checkpoint)
    elif args.resume:
        engine.resume(args.resume)

    output = engine.launch(eval=args.eval)
    if args.eval:
        logger.info(f'Evaluation results: {output}')


if __name__ == '__main__':
    main()

import argparse
from datetime import timedelta

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
    parser.add_argument('--dump', help='dump inference outputs', action='store_true')
    parser.add_argument('--seed', help='random seed', type=int)
    parser.add_argument('--amp', help='amp data type', default='none')
    parser.add_argument('--debug', help='debug mode', action='store_true')
    parser.add_argument('--launcher', help='job launcher')
    return parser.parse_args()


def main():
    args = parse_args()
    cfg = nncore.Config.from_file(args.config)
    mode = 'both' if args.dump else args.eval

    launcher = comm.init_dist(launcher=args.launcher, timeout=timedelta(minutes=1))

    log_file = work_dir = None
    if comm.is_main_process() and not mode:
        work_dir = args.work_dir or nncore.join('work_dirs', nncore.pure_name(args.config))
        work_dir = nncore.mkdir(work_dir, modify_path=args.work_dir is None)
        log_file = nncore.join(work_dir, f'{nncore.get_timestamp()}.log')

    logger = nncore.get_logger(log_file=log_file)
    logger.info(f'Environment info:\n{nncore.collect_env_info()}')
    logger.info(f'Launcher: {launcher}')
    logger.info(f'Config: {cfg.text}')

    seed = set_random_seed(cfg.seed if args.seed is None else args.seed, deterministic=True)
    logger.info(f'Using random seed: {seed}')

    model = build_model(cfg.model, dist=bool(launcher))
    logger.info(f'Model architecture:\n{model.module}')

    params = [p for p in model.parameters() if p.requires_grad]
    logger.info(f'Learnable parameters: {sum(p.numel() for p in params)}')

    if not mode:
        loader = cfg.data.train.loader
        loader.batch_size = loader.batch_size // comm.get_world_size()
        logger.info(f'Batch size: {loader.batch_size} samples per process')
    elif args.dump:
        cfg.stages.validation.dump_template = 'saliency_{}.jsonl'

    engine = Engine(
        model,
        cfg.data,
        stages=cfg.stages,
        hooks=cfg.hooks,
        work_dir=work_dir,
        seed=seed,
        amp=args.amp,
        debug=args.debug,
    )

    if args.checkpoint:
        engine.load_checkpoint(args.checkpoint)
    elif args.resume:
        engine.resume(args.resume)

    engine.launch(eval=mode)


if __name__ == '__main__':
    main()

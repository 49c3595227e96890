"""Train a network: `python train.py dataset=scannet model=minkunet34c`, or `pc3d train ...`."""

from pc3d.cli.train import main

if __name__ == "__main__":
    main()

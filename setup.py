"""Packages of the wheel; everything else stands in pyproject.toml.

`conf/` is a folder at the top level for those who work in the repository, and `pc3d.conf` for those
who installed the wheel; only this file can say so.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["pc3d*", "cuda_ops*", "data_prep*", "visualize*"]),
        "pc3d.conf",
    ],
    package_dir={"pc3d.conf": "conf"},
)

"""What setuptools cannot be told in pyproject.toml: in a wheel, conf/ lies inside the package that reads it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["bench*", "analysis*"]), "bench.conf", "hydra_plugins"],
    package_dir={"bench.conf": "conf"},
)

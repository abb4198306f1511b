"""What pyproject.toml has no words for: the package `gavt`, what people import, lies in pipeline/api."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["pipeline*", "cluster*", "jobs*"]), "gavt"],
    package_dir={"gavt": "pipeline/api"},
)

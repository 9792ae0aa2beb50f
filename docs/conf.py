"""Sphinx settings of the documentation."""

project = "resonate-web"
author = "the resonate-web authors"
extensions = ["myst_parser"]
html_theme = "furo"
myst_heading_anchors = 3
# Pages link to files of the repository too (README.md of an example): such links are for readers of the repository.
suppress_warnings = ["myst.xref_missing"]

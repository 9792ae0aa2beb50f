"""What durable orders cost on this machine: `python -m benchmarks --help`; docs/benchmarks.md explains the figures."""

"""What the pipeline costs and how fast it is, measured on this machine; see docs/performance.md."""

"""Small benchmarks that print ratios: threadway against the bare thing underneath it, in one run, on one machine.

`python -m bench [turns | fairness | intake | render] [--turns N] [--json]`; docs/benchmarks.md says what each measures.
Everything runs on this machine alone, in a folder of its own that is gone afterwards, and stops by itself.
"""

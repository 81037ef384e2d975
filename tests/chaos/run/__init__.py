"""Chaos: real processes, random faults, and a verifier that looks at them from outside only. `make chaos` runs it.

The lab stands for both platforms and is the witness: it is never killed itself, its connections are cut. Everything
else dies: gateways, workers, backend, both Redis servers. What is promised is in docs/guarantees.md.

    plan      what a run does: length, seed, rates        play      one run, from the first process to the verdict
    stage     the processes, each followed by a new one   faults    who is hit when;  thief: wake-ups that get lost
    traffic   people who write, and what they see         power     power cuts
    door      events in, split over the gateways          wire      calls out: refused, failed, cut
    backend   a strict server that remembers everything   history   what was seen
    verdict   what it means                               recovery  how long it took;  report: the table
"""

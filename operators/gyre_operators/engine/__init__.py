"""The level-triggered core: sources fill stores, stores wake keys, keys are observed and planned.

A controller is written against four modules only: `plan` (what a decision is), `controller` (the
four steps), `watch` with `kinds` (what it wants to see) and `store` (how it reads). `testing` lets
a plan be carried out in memory.
"""

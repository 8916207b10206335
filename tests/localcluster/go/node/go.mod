// What the node needs that no registry hands out: the pause program and a small certificate maker.
module gyre.dev/tests/localcluster/node

go 1.24.0

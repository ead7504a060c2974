"""One file a peer: `python -m bench.peers.NAME FOLDER` prints the answer to the question as sorted JSON lines."""

"""The local certificate authority: the only importer of `cryptography`. It imports nothing of ours.

The rooms, in the order a start meets them:

    authority   the CA: made on first need in the state directory, or refused with the cure
    leaf        a certificate for one host, and the bounded cache of them
    contexts    TLS settings towards workers (a leaf) and towards upstreams (the system's roots)
    roots       the public roots, and the bundle that holds them beside our CA
    truststore  the same bundle in the form Java reads
    problem     the one error, which names the file and the cure

What can be read here and nowhere else: the CA's key. It leaves `authority` only as a signature.
"""

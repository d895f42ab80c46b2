"""The pure part of throughput tests: who may test, what the first octets say, how fast it was, and why not faster.

No socket, no event loop and no clock lives here. *Down* is from the server that grants a lease to who asked for it,
*up* the other way; rates are bit/s, octets are of payload unless they are called IP octets.
"""

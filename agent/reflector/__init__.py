"""The answering side: what a peer's probe is reflected by."""

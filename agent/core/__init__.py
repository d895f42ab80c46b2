"""The pure centre: bytes and numbers in, values out.

No socket, no event loop and no clock lives here: `now` is an argument. All times are integer nanoseconds; wall
time is Unix time. What leaves the process is named in `metrics`.
"""

"""Who is asked how good the local clock is: chronyd, ptp4l, the kernel, and how one of them is chosen. Nothing here
sets a clock."""

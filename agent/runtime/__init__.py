"""The shell that both programs share: settings, logs, lifecycle. It knows nothing of probes or verdicts."""

"""Programs of others that read our files."""

import subprocess


def run_tool(*command: str) -> str:
    """Run a program; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout

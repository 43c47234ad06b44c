"""Finds a browser for the tests, or gets one."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """Returns the path of a browser that starts: the machine's own, else Playwright's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        downloaded = playwright.chromium.executable_path
    candidates = [path for name in NAMES if (path := shutil.which(name))] + [downloaded]
    return next((path for path in candidates if starts(path)), None)


def starts(path: str) -> bool:
    """Says whether a browser is there with all the libraries that it needs."""
    if not Path(path).exists():
        return False
    return run([path, "--version"], timeout=300)


def install_browser() -> str | None:
    """Installs a browser and returns its path, or None where none can be had."""
    if is_debian() and (administrator := prefix()) is not None:
        run([*administrator, "apt-get", "update", "-qq"], timeout=300)
        run([*administrator, "apt-get", "install", "-y", "-qq", "chromium"], timeout=600)
    if find_browser() is None:
        run([sys.executable, "-m", "playwright", "install", "chromium"], timeout=600)
    return find_browser()


def is_debian() -> bool:
    """Ubuntu's package is a stub for a snap, which many machines cannot run."""
    if not shutil.which("apt-get"):
        return False
    return platform.freedesktop_os_release().get("ID") == "debian"


def prefix() -> list[str] | None:
    """Returns what makes a command run as root without asking, or None."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and run(["sudo", "-n", "true"], timeout=10):
        return ["sudo", "-n"]
    return None


def run(command: list[str], timeout: float) -> bool:
    """Says whether a command succeeded, without a word and without waiting for an answer."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    try:
        done = subprocess.run(command, timeout=timeout, stderr=subprocess.DEVNULL, **quiet)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0

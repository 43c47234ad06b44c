"""The hub's cache, as a download leaves it: what a pipeline needs, not the whole repository."""

import json
import shutil

COMMIT = "0123456789" * 4


def keep_in_cache(folder, name, cache, monkeypatch):
    """Have a folder lie in a hub cache of its own, under a hub id; the folder in the cache."""
    home = cache / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text(COMMIT)
    snapshot = home / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    names = [str(file.relative_to(snapshot)) for file in snapshot.rglob("*") if file.is_file()]
    size = {"size": 1, "blob_id": COMMIT}
    (home / "trees").mkdir()
    (home / f"trees/{COMMIT}.json").write_text(
        json.dumps({"format_version": 1, "files": dict.fromkeys([*names, "v1-5.ckpt"], size)})
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return snapshot

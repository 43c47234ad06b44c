r"""The Optuna study of a grid: who asks for which cell, and what it was worth.

A trial is a cell, with its learning rate, its steps and its score, so that Optuna's own tools show
the grid. A trial that runs is a question that nobody has answered yet; whoever gets the cell's
numbers answers it. So the trials of a worker that died are not lost.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.samplers import GridSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from tlab_diffusion.dreambooth.grid.result import Grid, Place
from tlab_diffusion.errors import InputError

JOURNAL = "study.journal"
OWNER = "grid"  # the attribute of a study that names the grid in its folder


class GridStudy:
    r"""The study of one grid.

    Args:
        storage: from `open_storage`.
        name: of the study; an extended grid needs another one.
        grid: what is searched.
        lock: keeps other workers from asking at the same time.
    """

    def __init__(self, storage: BaseStorage, name: str, grid: Grid, lock: FileLock):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.lock, self.rates, self.steps = lock, grid.learning_rates, grid.steps
        # The seed is the same for all workers, so they agree on the order.
        sampler = GridSampler({"learning_rate": self.rates, "steps": self.steps}, seed=0)
        with lock:
            self.study = optuna.create_study(
                storage=storage,
                sampler=sampler,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
            )
            self.study.set_user_attr(OWNER, grid.id)

    def ask(self) -> Place | None:
        """A place to see to, as a new trial; None if each has one."""
        with self.lock:
            trials = self.study.get_trials(deepcopy=False)
            cut = [trial for trial in trials if _place(trial) is None]
            if cut:  # a worker died while it asked
                trial = Trial(self.study, cut[0]._trial_id)
            elif len(trials) < len(self.rates) * len(self.steps):
                trial = self.study.ask()
            else:
                return None
            return Place(
                trial.suggest_float("learning_rate", self.rates[0], self.rates[-1], log=True),
                trial.suggest_int("steps", self.steps[0], self.steps[-1], log=True),
            )

    def tell(self, grid: Grid) -> None:
        """Answer the trials whose cells are known."""
        with self.lock:
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                place = _place(trial)
                # GridSampler stops a study that is complete, an error outside of `optimize`; the
                # trial has got its value by then.
                with suppress(RuntimeError):
                    if place in grid.cells:
                        self.study.tell(trial.number, grid.cells[place].score)
                    elif place in grid.broken:
                        self.study.tell(trial.number, state=TrialState.FAIL)


def _place(trial: FrozenTrial) -> Place | None:
    """What a trial asks for; None if it was cut short while it asked."""
    names = Place._fields
    return Place(*map(trial.params.get, names)) if set(names) <= set(trial.params) else None


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    r"""Where the study is kept.

    Args:
        url: of a database; the journal in the grid's folder when None.
        folder: the grid's.

    Raises:
        InputError: a journal that is damaged, or a database that cannot be used.
    """
    if url is None:
        path = folder / JOURNAL
        try:
            return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))
        except (ValueError, KeyError) as error:
            raise InputError(
                "output",
                got=f"{path}, which is damaged",
                expected="a journal of Optuna",
                fix="Delete it and go on with --resume; what was measured is kept.",
            ) from error
    with _one_line(url):
        return RDBStorage(url)


def check_url(url: str | None) -> None:
    """Refuse what is no URL of a database; none is opened."""
    if url is not None:
        with _one_line(url):
            make_url(url)


@contextmanager
def _one_line(url: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).splitlines()[:1])
        raise InputError(
            "storage",
            got=f"{_without_password(url)} ({why})",
            expected="the URL of a database that can be reached, such as sqlite:///grid.db",
        ) from error


def check_storage(url: str | None, folder: Path) -> None:
    """Refuse a storage that is wrong; nothing is written into the folder."""
    if url is not None or (folder / JOURNAL).is_file():
        open_storage(url, folder)


def check_owner(url: str | None, folder: Path, name: str, grid: str | None) -> None:
    r"""Refuse a study of workers that use another folder: nobody would see what the others do.

    Args:
        url, folder: see `open_storage`.
        name: of the study.
        grid: the id of the grid in the folder, None if none is there yet.
    """
    if url is None:
        return
    try:
        owner = optuna.load_study(study_name=name, storage=open_storage(url, folder))
    except KeyError:
        return  # no such study yet
    if owner.user_attrs.get(OWNER, grid) != grid:
        raise InputError(
            "output",
            got=f"{folder}, but the study {name!r} belongs to another folder",
            expected="one folder, which all workers of a study share",
            fix="Give that one, or another database.",
        )


def _without_password(url: str) -> str:
    return re.sub(r"(?<=:)[^:/@]+(?=@)", "***", url)

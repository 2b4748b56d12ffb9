"""What a training shows: few lines before the first number, and an error as one line.

Everything goes to the run's train.log as well, with what is not shown: fairseq's dumps of
configuration and network, its remarks on its own state, and the traceback of an error.
"""

import errno
import logging
import logging.handlers
import os
import sys
import warnings
from types import TracebackType
from typing import Any, List, Optional, Type

from hydra.core.utils import JobReturn
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from eat.work import in_one_line

from .record import LOG_NAME
from .shared_memory import SharedMemoryError
from .stopping import is_in_submitit

# Of these loggers nothing but warnings is shown, of the others no message that starts like this.
_QUIET_LOGGERS = ("fairseq.tasks.fairseq_task", "fairseq.data.iterators", "matplotlib")
_QUIET_MESSAGES = (
    *("task: ", "model: ", "criterion: ", "num. expert", "max tokens", "begin dry-run"),
    *("Preparing to", "loading train data", "begin training epoch", "Start iterating"),
    *("Saving checkpoint", "Finished saving"),
)
_DEPRECATIONS = (
    (FutureWarning, r"`torch\.cuda\.amp"),
    (UserWarning, r"'pin_memory' argument is set as true but no accelerator"),
)
_FULL_ERROR = "HYDRA_FULL_ERROR"  # makes hydra show a whole traceback: it hands the error on
_BUS_ERROR = "killed by signal: Bus error"  # torch, of loading processes
_BY_US = "EAT_SHOWS_ERRORS"  # set with it, so that the workers of a run know who set it
_MAX_EARLY_RECORDS = 1000

_early = logging.handlers.MemoryHandler(_MAX_EARLY_RECORDS, flushLevel=logging.CRITICAL + 1)


class Useful(logging.Filter):
    """Lets through what people read while a run goes on."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a message."""
        if record.levelno >= logging.WARNING:
            return True
        if record.name.startswith(_QUIET_LOGGERS):
            return False
        # fairseq logs its configuration and its network as objects.
        return isinstance(record.msg, str) and not record.msg.startswith(_QUIET_MESSAGES)


def early_messages() -> logging.Handler:
    """What keeps messages until the run's log is open; a factory for `logging.config`."""
    return _early


def end_early_messages(log: Optional[logging.Handler] = None) -> None:
    """Write what was logged until now to the run's log, if there is one, and keep no more."""
    logging.getLogger().removeHandler(_early)
    _early.setTarget(log)
    _early.flush()
    _early.setTarget(None)
    _early.buffer.clear()


def quieten(cfg: DictConfig) -> None:
    """Show less from now on, and after fairseq has set up logging as the configuration says."""
    for category, message in _DEPRECATIONS:
        warnings.filterwarnings("ignore", message, category)
    root = logging.getLogger()
    root.setLevel(max(root.level, logging.INFO))
    root.removeHandler(_early)  # of an earlier call
    for handler in root.handlers:
        handler.addFilter(Useful())
    root.addHandler(_early)
    config = cfg.get("job_logging_cfg")
    if config is None or "console" not in config.get("handlers", {}):
        return
    with open_dict(cfg):
        name = f"{__name__}."
        config.filters = {**config.get("filters", {}), "useful": {"()": f"{name}Useful"}}
        config.handlers.console.filters = ["useful"]
        config.handlers.early = {"()": f"{name}early_messages"}
        config.root.handlers = [*config.root.handlers, "early"]


def show_errors_in_one_line() -> None:
    """From now on; what is no mistake of the user's, and all with HYDRA_FULL_ERROR=1, as ever."""
    if os.environ.get(_FULL_ERROR) == "1" and _BY_US not in os.environ:
        return
    os.environ[_FULL_ERROR] = os.environ[_BY_US] = "1"
    sys.excepthook = _show
    value = vars(JobReturn).get("return_value")
    if isinstance(value, property):  # since hydra 1.1, which prints all overrides before an error
        JobReturn.return_value = property(_value_or_error, _set_value)


def _value_or_error(job: Any) -> Any:
    if job.status.name == "FAILED":
        raise job._return_value
    return job._return_value


def _set_value(job: Any, value: Any) -> None:
    # submitit takes an error that hydra keeps for a result, and Slurm lists the job as completed.
    if isinstance(value, Exception) and is_in_submitit():
        _show(type(value), value, value.__traceback__)
        raise SystemExit(1)
    job._return_value = value


def _show(
    kind: Type[BaseException], error: BaseException, traceback: Optional[TracebackType]
) -> None:
    if isinstance(error, KeyboardInterrupt):
        print("interrupted: what was not saved is lost", file=sys.stderr)
        return
    if _lacks_shared_memory(error):
        error = SharedMemoryError.because(error).with_traceback(traceback)
    _log(error)
    if is_users_mistake(error):
        # Not by sys.stderr: torch puts "[rank0]: " before what is written there.
        print(f"error: {in_one_line(error)}", file=sys.__stderr__)
    else:
        sys.__excepthook__(kind, error, traceback)


def is_users_mistake(error: BaseException) -> bool:
    """Whether an error's message alone tells what to do: ours, a file's, or one on settings."""
    if isinstance(error, (OSError, OmegaConfBaseException)):
        return True
    if type(error).__module__.split(".")[0] == "eat":
        return True
    frames = _modules(error.__traceback__)
    return isinstance(error, ValueError) and frames[-1] in ("eat", "fairseq", "fairseq_cli")


def _lacks_shared_memory(error: BaseException) -> bool:
    """Whether this comes from a full /dev/shm, in a loading process or at its start."""
    if _BUS_ERROR in f"{error} {error.__cause__}":  # it depends on what the parent was doing
        return True
    is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return is_full and _modules(error.__traceback__)[-1] == "multiprocessing"


def _modules(traceback: Optional[TracebackType]) -> List[str]:
    """The packages that a traceback goes through."""
    names = [""]
    while traceback is not None:
        names.append(str(traceback.tb_frame.f_globals.get("__name__")).split(".")[0])
        traceback = traceback.tb_next
    return names


def _log(error: Any) -> None:
    """Write the traceback to the run's log, if it is open, and nowhere else."""
    info = (type(error), error, error.__traceback__)
    record = logging.LogRecord(
        __name__, logging.ERROR, __file__, 0, "the run ended with an error", None, info
    )
    for handler in logging.getLogger().handlers:
        if handler.get_name() == LOG_NAME:
            handler.handle(record)

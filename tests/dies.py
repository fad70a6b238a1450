"""`python -m alexnet` that kills itself with SIGKILL at a place named by $DIES, e.g. `step 0 2`; for tests.

Towers are started by importing this file again, so that they die alike. $TOWER says which of two processes it is.

    step E S       after step S of epoch E
    write N        when a half of the N-th checkpoint is on the disk
    rename N       when all of it is, under its temporary name
    validate E     in the validation of epoch E
    publish        between model.pt and run.json
"""

import os
import signal
import sys
import time

from alexnet.__main__ import main
from alexnet.training import checkpoints, record, trainer

PLACE = os.environ["DIES"].split()
TOWER = int(os.environ.get("TOWER", "0"))  # of two; -1: the process that started them
KIND, NUMBERS = PLACE[0], [int(number) for number in PLACE[1:]]


def die():
    os.kill(os.getppid() if TOWER < 0 else os.getpid(), signal.SIGKILL)
    time.sleep(60)  # a tower is ended with the process that started it, and takes no step until then


def before(owner, name, reached):
    """Die on the way into a function if `reached` says so."""
    original = getattr(owner, name)

    def deadly(*arguments, **more):
        if reached(*arguments):
            die()
        return original(*arguments, **more)

    setattr(owner, name, deadly)


def at(run):
    """Epoch and step of a training whose checkpoints so far are on the disk: a thread writes them."""
    run.written()
    return [run.state.epoch, run.state.step] if run.rank == max(TOWER, 0) else []


if KIND == "step":
    before(trainer.Run, "due", lambda run: at(run) == NUMBERS)
elif KIND == "validate":
    before(trainer.Run, "validate", lambda run: at(run)[:1] == NUMBERS)
elif KIND == "publish":
    before(record, "write_json", lambda path, _: path.name == "run.json")
else:
    written, original = [], checkpoints.write_atomically

    def torn(path, write):
        def deadly(target):
            write(target)
            written.append(target)
            if len(written) == NUMBERS[0]:
                if KIND == "write":
                    os.truncate(target, target.stat().st_size // 2)
                die()

        original(path, deadly)

    checkpoints.write_atomically = torn

if __name__ == "__main__":
    sys.exit(main())

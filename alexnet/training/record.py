"""What a finished training leaves: weights, the table of its epochs, and run.json."""

import csv
import math
import resource
from pathlib import Path

import torch

from alexnet.net import tensors
from alexnet.runtime import provenance
from alexnet.runtime.files import hashes, write_atomically, write_json
from alexnet.training.trainer import Run


def lost_epoch(run: Run, epoch: int, seconds: float) -> dict[str, float]:
    """The row of an epoch in which the loss stopped being finite: rates, and nothing measured."""
    measured = [f"{of}_{what}" for of in ("train", "validation") for what in ("loss", "error", "top5_error")]
    return (
        run.rates_row(epoch) | dict.fromkeys(measured, math.nan) | {"seconds": seconds, "images_per_second": math.nan}
    )


def publish(run: Run) -> None:
    """Write metrics.csv, model.pt and, last, run.json."""
    config, state, execution = run.config, run.state, run.execution
    net, _ = run.whole_state()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    memories = run.link.numbers(memory) if run.link else [memory]
    if run.rank:
        return

    traffic = [session["traffic"] for session in state.sessions if "traffic" in session]

    def write_metrics(path: Path) -> None:
        with open(path, "w", newline="") as target:
            writer = csv.DictWriter(target, fieldnames=list(state.history[0]))
            writer.writeheader()
            writer.writerows(state.history)

    weights = {
        "format": 1,
        "config_fingerprint": config["fingerprint"],
        "data_fingerprint": run.manifest["fingerprint"],
        "wnids": [entry["wnid"] for entry in run.manifest["classes"]],
        "mean": torch.from_numpy(run.mean),
        "state_dict": {name: tensor.cpu() for name, tensor in net.items()},
    }
    (run.out / "run.json").unlink(missing_ok=True)  # its presence says that the three belong together
    write_atomically(run.out / "metrics.csv", write_metrics)
    tensors.save_tensors(run.out / "model.pt", weights)
    files = hashes(run.out / "metrics.csv", run.out / "model.pt")
    write_json(
        run.out / "run.json",
        {
            "format": 1,
            **{key: config[key] for key in ("study", "experiment", "seed", "tier")},
            "status": "finished",
            "config_fingerprint": config["fingerprint"],
            "data_fingerprint": run.manifest["fingerprint"],
            "epochs": state.epoch,
            "rate_changes": run.rate_changes(),
            **({"started_from_sha256": run.started_from} if run.started_from else {}),
            "parameters": sum(net[name].numel() for name in run.names),
            "weights_sha256": files["model.pt"],
            "files": files,
            "final": {key: None if math.isnan(v) else v for key, v in state.history[-1].items()},
            **({"diverged": True} if math.isnan(state.history[-1]["train_error"]) else {}),
            "wall_seconds": sum(row["seconds"] for row in state.history),
            "checkpoints": state.checkpoints,
            "checkpoint_seconds": state.checkpoint_seconds,
            "peak_memory_mb": sum(memories),
            **execution.record(),
            **({"traffic": traffic[-1]} if traffic else {}),
            "sessions": state.sessions,
            "provenance": provenance.collect("train"),
        },
    )

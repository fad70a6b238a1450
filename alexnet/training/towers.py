"""Trains the two towers in two processes, each with a device of its own, that talk only where the paper says.

Each device holds its half of the kernels and of the units (s. 3.2). Activations cross before a layer that reads
both towers (conv3 and the fully connected ones), their gradients on the way back, and the halves of the output, so
that both devices see the whole softmax. It is the mathematics of one device: losses and weights agree to rounding.

*Untested with NCCL and on two GPUs*; with gloo, on the processor, it is tested.
"""

import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet.errors import UserError
from alexnet.net.layers import Dropout, LocalResponseNorm
from alexnet.net.model import AlexNet


class PeerLost(UserError):
    """The other tower's process is gone, or does not answer in time."""


class Link:
    """The way to the other tower, and what went over it.

    Args:
        rank: 0 or 1, the tower of this process.
        timeout: seconds that an exchange may take.
        control: processes that exchange numbers on the processor, if the main ones cannot (NCCL).
    """

    def __init__(self, rank: int, timeout: float, control: dist.ProcessGroup | None = None) -> None:
        self.rank, self.timeout, self.control = rank, timeout, control
        self.count_anew()

    def count_anew(self) -> None:
        self.bytes_sent, self.exchanges, self.seconds = 0, 0, 0.0

    def traffic(self, images: int) -> dict[str, float]:
        """What went over it since `count_anew`, for run.json: in the training of so many images, waiting included."""
        sent = self.bytes_sent / images
        return {"bytes_sent_per_image": sent, "exchanges": self.exchanges, "seconds": self.seconds}

    def swap(self, mine: Tensor, theirs: tuple[int, ...]) -> Tensor:
        """Send `mine`, return what the other tower sends: a tensor of shape `theirs` and of the same type.

        Raises:
            PeerLost: the other process ended, or does not answer within the timeout.
        """
        # channels-last tensors go as they lie in memory
        last = mine.dim() == 4 and mine.is_contiguous(memory_format=torch.channels_last)
        shape = (theirs[0], *theirs[2:], theirs[1]) if last else theirs
        sent = (mine.permute(0, 2, 3, 1) if last else mine).contiguous()
        received = torch.empty(shape, dtype=mine.dtype, device=mine.device)
        started = time.perf_counter()
        self._exchange(sent, received, None)
        self.seconds += time.perf_counter() - started
        self.bytes_sent += sent.numel() * sent.element_size()
        self.exchanges += 1
        return received.permute(0, 3, 1, 2) if last else received

    def _exchange(self, sent: Tensor, received: Tensor, group: dist.ProcessGroup | None) -> None:
        try:
            ops = [
                dist.P2POp(dist.isend, _bytes(sent), 1 - self.rank, group),
                dist.P2POp(dist.irecv, _bytes(received), 1 - self.rank, group),
            ]
            for work in dist.batch_isend_irecv(ops):
                work.wait()
        except RuntimeError as error:
            raise PeerLost(
                f"tower {self.rank} lost tower {1 - self.rank}: it ended, or did not answer within "
                f"{self.timeout:g} s ({str(error).strip().splitlines()[0]})"
            ) from error

    def join(self, mine: Tensor, other: int, dim: int) -> Tensor:
        """Both parts in the towers' order; the other one has `other` entries along `dim`."""
        shape = list(mine.shape)
        shape[dim] = other
        theirs = self.swap(mine, tuple(shape))
        return torch.cat([mine, theirs] if self.rank == 0 else [theirs, mine], dim)

    def numbers(self, mine: float) -> list[float]:
        """A number of each tower, first tower first; no part of the traffic that is counted."""
        sent = torch.tensor([mine], dtype=torch.float64)
        received = torch.empty_like(sent)
        self._exchange(sent, received, self.control)
        both = [sent.item(), received.item()]
        return both if self.rank == 0 else both[::-1]


def _bytes(x: Tensor) -> Tensor:
    """The memory of a contiguous tensor; gloo does not know bfloat16."""
    return x.view(-1).view(torch.uint8)


class _Join(torch.autograd.Function):
    """Both towers' activations; on the way back each tower gets the sum of both gradients for its own."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, link: Link, other: int) -> Tensor:
        ctx.link, ctx.mine, ctx.other = link, mine.shape[1], other
        return link.join(mine, other, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        parts = [ctx.mine, ctx.other] if ctx.link.rank == 0 else [ctx.other, ctx.mine]
        first, second = grads[0].split(parts, 1)
        own, foreign = (first, second) if ctx.link.rank == 0 else (second, first)
        if own.dim() == 4:
            foreign = foreign.contiguous(memory_format=torch.channels_last)
        return own + ctx.link.swap(foreign, tuple(own.shape)), None, None


class _Whole(torch.autograd.Function):
    """The whole output of the net; both towers compute the same loss from it, so the gradient is not summed."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, link: Link, other: int) -> Tensor:
        ctx.mine, ctx.first = mine.shape[1], 0 if link.rank == 0 else other
        return link.join(mine, other, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0][:, ctx.first : ctx.first + ctx.mine], None, None


class Tower(AlexNet):
    """One tower of a net, and its link to the other.

    Its parameters have the names of the whole net's and are its rows: kernels and units of this tower. `part` and
    `whole` turn the whole net's tensors into this tower's and back.

    Shape: (B, 3, crop, crop) -> (B, classes), as of `alexnet.net.model.AlexNet`.

    Args:
        net: the whole net, with two towers.

    Raises:
        UserError: a net that does not have two towers.
    """

    def __init__(self, net: AlexNet, link: Link) -> None:
        nn.Module.__init__(self)  # its layers are those of `net`, halved
        if net.towers != 2:
            raise UserError(f"the net has {net.towers} tower(s); two devices need two")
        self.link = link
        self.rows = {name: len(tensor) for name, tensor in net.state_dict().items()}
        self.learned, self.partial = net.learned, net.partial
        # what a learned layer reads of the other tower; the first one reads the image, which both have
        self.reads_both = {name: name != net.learned[0] and net.reads[name] == "all" for name in net.learned}
        modules: dict[str, nn.Module] = {}
        units = 0
        for name, module in net.layers.items():
            if name in self.reads_both:
                if not isinstance(module, nn.Conv2d | nn.Linear):
                    raise UserError(f"{name} is no layer that can be shared out over two devices; use one")
                modules[name] = self._half(module)
                units = len(module.weight)
            elif isinstance(module, LocalResponseNorm):
                modules[name] = module.of_one_tower()
            elif isinstance(module, Dropout):
                modules[name] = module.only(self._bounds(units)[0], units)
            else:
                modules[name] = module
        self.layers = nn.ModuleDict(modules)
        self.classes = units

    def _bounds(self, rows: int) -> tuple[int, int]:
        """First row of this tower, and the one after its last; the first tower has the odd one."""
        half = (rows + 1) // 2
        return (0, half) if self.link.rank == 0 else (half, rows)

    def _half(self, module: nn.Conv2d | nn.Linear) -> nn.Module:
        first, last = self._bounds(len(module.weight))
        half: nn.Conv2d | nn.Linear
        if isinstance(module, nn.Conv2d):
            kernel, stride, padding = module.kernel_size, module.stride, module.padding
            half = nn.Conv2d(module.weight.shape[1], last - first, kernel, stride, padding)  # type: ignore[arg-type]
        else:
            half = nn.Linear(module.in_features, last - first)
        with torch.no_grad():
            half.weight.copy_(module.weight[first:last])
            assert half.bias is not None
            assert module.bias is not None
            half.bias.copy_(module.bias[first:last])
        return half.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        out: Tensor = _Whole.apply(x, self.link, self.classes - x.shape[1])
        return out

    def _read(self, name: str, x: Tensor) -> Tensor:
        if not self.reads_both[name]:
            return x
        module = self.layers[name]
        assert isinstance(module, nn.Conv2d | nn.Linear)
        inputs = module.in_channels if isinstance(module, nn.Conv2d) else module.in_features
        both: Tensor = _Join.apply(x, self.link, inputs - x.shape[1])
        return both

    def part(self, name: str, whole: Tensor) -> Tensor:
        """This tower's rows of the whole net's tensor `name` (of a weight, a bias, or what belongs to one)."""
        first, last = self._bounds(self.rows[name])
        return whole[first:last]

    def whole(self, name: str, part: Tensor) -> Tensor:
        """The whole net's tensor, from both towers; each of them must call this, in the same order."""
        return self.link.join(part.detach(), self.rows[name] - len(part), 0)

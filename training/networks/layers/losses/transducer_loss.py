"""The loss of a recurrent neural network transducer (RNN-T, Graves 2012): -log p(targets | outputs of the encoder).

An alignment is a path through a lattice of nodes (t, u): t steps of the encoder are read, u targets are written. The
blank leads from (t, u) to (t + 1, u), the next target to (t, u + 1); every path ends with a blank from the last node.
The probability of the targets is the sum over all paths, here by forward and backward variables. A path needs no
minimum of steps, since any number of targets may be written at one step.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

#: The blank's id: that of padding, which no target has.
BLANK = 0
#: Log-probability of an arc that no path takes.
NEVER = -math.inf


class Lattice(NamedTuple):
    """Log-probabilities on the arcs that leave each node, `[batch, steps, targets + 1]` each, and each row's size.

    The arcs of targets in the last column lead nowhere.
    """

    blanks: Tensor
    labels: Tensor
    steps: Tensor
    lengths: Tensor


class Posteriors(NamedTuple):
    """`[batch]` of log p(targets), and the share of each arc in it, `[batch, steps, targets + 1]` each."""

    log_likelihood: Tensor
    blanks: Tensor
    labels: Tensor


def transducer_loss(logits: Tensor, targets: Tensor, steps: Tensor, lengths: Tensor) -> Tensor:
    """`[batch]`: -log p of each row's targets, summed over all alignments, in nats.

    Memory is that of the logits and, while gradients are computed, of one more tensor of their size.

    Args:
        logits: `[batch, steps, targets + 1, vocab]` of the joint network, not normalised.
        targets: `[batch, targets]` of ids, without start or end token; values beyond a length are ignored.
        steps: `[batch]`: valid steps of each row, at least 1.
        lengths: `[batch]`: valid targets of each row; 0 is allowed.
    """
    loss: Tensor = _TransducerLoss.apply(logits, targets, steps, lengths)  # type: ignore[no-untyped-call]
    return loss


class _TransducerLoss(torch.autograd.Function):
    """The loss with its gradient by forward and backward variables: no step of the recursion is kept for autograd."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, steps: Tensor, lengths: Tensor) -> Tensor:
        norms = logits.logsumexp(dim=3)
        next_targets = _next_targets(targets, logits.shape[1])
        labels = logits.gather(3, next_targets).squeeze(3) - norms
        found = posteriors(Lattice(logits[..., BLANK] - norms, labels, steps, lengths))
        ctx.save_for_backward(logits, norms, next_targets, found.blanks, found.labels)
        return -found.log_likelihood

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """By the logits: softmax times the posterior of the node, less the posterior of the arc itself."""
        logits, norms, next_targets, blanks, labels = ctx.saved_tensors
        scale = gradients[0].view(-1, 1, 1)
        blanks, labels = blanks * scale, labels * scale
        of_logits = (logits - norms.unsqueeze(3)).exp_().mul_((blanks + labels).unsqueeze(3))
        of_logits[..., BLANK] -= blanks
        of_logits.scatter_add_(3, next_targets, -labels.unsqueeze(3))
        return of_logits, None, None, None


def _next_targets(targets: Tensor, steps: int) -> Tensor:
    """`[batch, steps, targets + 1, 1]`: the target that each node would write next; the blank in the last column."""
    after = F.pad(targets, (0, 1), value=BLANK)
    return after[:, None, :, None].expand(-1, steps, -1, -1)


def posteriors(lattice: Lattice) -> Posteriors:
    """The likelihood by forward and backward variables (Graves 2012, section 2.4), and the posteriors of all arcs.

    The backward variables are the forward ones of the lattice reversed within each row's size, so both come from one
    recursion over twice the rows.
    """
    blanks, labels, steps, lengths = _inside(lattice)
    first, last = torch.zeros_like(steps), (_rows(steps), steps - 1, lengths)
    reversed_nodes = _reversed_nodes(blanks, steps, lengths)
    starts_late = _axis(blanks, 1) > first
    arriving_blanks = torch.cat([_moved(blanks, 1, 1), blanks[reversed_nodes].where(starts_late, NEVER)])
    arriving_labels = torch.cat([_moved(labels, 2, 1), labels[reversed_nodes]])
    forward, reversed_variables = forward_variables(arriving_blanks, arriving_labels).chunk(2)
    is_node = (_axis(blanks, 1) < steps) & (_axis(blanks, 2) <= lengths)
    backward = (reversed_variables[reversed_nodes] + blanks[last]).where(is_node, NEVER)
    is_last = (_axis(blanks, 1) == steps - 1) & (_axis(blanks, 2) == lengths)
    total = forward[last] + blanks[last]
    of_blanks = forward + blanks + _moved(backward, 1, -1).where(~is_last, 0.0) - total
    of_labels = forward + labels + _moved(backward, 2, -1) - total
    return Posteriors(total.view(-1), of_blanks.exp(), of_labels.exp())


def forward_variables(arriving_blanks: Tensor, arriving_labels: Tensor) -> Tensor:
    """`[batch, steps, columns]`: log of the summed probability of all paths from the first node to each.

    The recursion goes over anti-diagonals, whose nodes do not depend on one another.

    Args:
        arriving_blanks, arriving_labels: `[batch, steps, columns]`: the arcs that arrive at each node.
    """
    batch, num_steps, columns = arriving_blanks.shape
    blanks, labels = _skewed(arriving_blanks), _skewed(arriving_labels)
    diagonals = blanks.new_full((len(blanks), batch, 1 + columns), NEVER)  # a column that no path reaches comes first
    diagonals[0, :, 1] = 0.0
    for number in range(1, len(blanks)):
        before, after = diagonals[number - 1], diagonals[number, :, 1:]
        torch.logaddexp(before[:, 1:] + blanks[number], before[:, :-1] + labels[number], out=after)
    return _straightened(diagonals[:, :, 1:], num_steps)


def _skewed(values: Tensor) -> Tensor:
    """`[batch, steps, columns]` -> its anti-diagonals `[steps + columns - 1, batch, columns]`, filled with `NEVER`.

    Rows of one length read as rows that are one shorter move by one place more in each.
    """
    batch, steps, columns = values.shape
    padded = F.pad(values.transpose(1, 2), (0, columns), value=NEVER).flatten(1)
    width = steps + columns - 1
    return padded[:, : columns * width].view(batch, columns, width).permute(2, 0, 1).contiguous()


def _straightened(diagonals: Tensor, steps: int) -> Tensor:
    """The inverse of `_skewed`."""
    width, batch, columns = diagonals.shape
    flat = F.pad(diagonals.permute(1, 2, 0).flatten(1), (0, columns))
    return flat.view(batch, columns, width + 1)[:, :, :steps].transpose(1, 2)


def _inside(lattice: Lattice) -> Lattice:
    """The lattice without arcs that leave from or lead to outside of a row's size; sizes as `[batch, 1, 1]`."""
    steps, lengths = lattice.steps.view(-1, 1, 1), lattice.lengths.view(-1, 1, 1)
    is_read, column = _axis(lattice.blanks, 1) < steps, _axis(lattice.blanks, 2)
    blanks = lattice.blanks.where(is_read & (column <= lengths), NEVER)
    return Lattice(blanks, lattice.labels.where(is_read & (column < lengths), NEVER), steps, lengths)


def _reversed_nodes(values: Tensor, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """An index of `[batch, steps, columns]` that reverses both axes within each row's size; its own inverse there."""
    return _rows(steps), (steps - 1 - _axis(values, 1)).clamp(min=0), (lengths - _axis(values, 2)).clamp(min=0)


def _moved(values: Tensor, axis: int, places: int) -> Tensor:
    """Move values by one place along an axis; `NEVER` takes the place that is left."""
    moved = values.roll(places, axis)
    moved.select(axis, 0 if places > 0 else -1).fill_(NEVER)
    return moved


def _axis(values: Tensor, axis: int) -> Tensor:
    """The index along one axis of `values` with three, to be broadcast over the others."""
    shape = [1, 1, 1]
    shape[axis] = -1
    return torch.arange(values.shape[axis], device=values.device).view(shape)


def _rows(sizes: Tensor) -> Tensor:
    return torch.arange(len(sizes), device=sizes.device).view(-1, 1, 1)

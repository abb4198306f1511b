"""What is made of seconds, each a vector of what is seen and one of what is heard (paper 004, Tables 1 and 2)."""

import torch
from torch import Tensor, nn


class SegmentPerceptron(nn.Module):
    """Each second by itself."""

    def __init__(self, visual: int, sound: int, hidden: int) -> None:
        super().__init__()
        self.width = hidden
        self.linear = nn.Linear(visual + sound, hidden)

    def forward(self, seen: Tensor, heard: Tensor) -> Tensor:
        """[B, T, Dv] and [B, T, Da] → [B, T, width]"""
        joined: Tensor = self.linear(torch.cat([seen, heard], -1))
        return joined


class Lstm(nn.Module):
    """One recurrent network through the seconds, that sees and hears."""

    def __init__(self, visual: int, sound: int, hidden: int) -> None:
        super().__init__()
        self.width = hidden
        self.lstm = nn.LSTM(visual + sound, hidden, batch_first=True)

    def forward(self, seen: Tensor, heard: Tensor) -> Tensor:
        """As of `SegmentPerceptron`."""
        through_time: Tensor = self.lstm(torch.cat([seen, heard], -1))[0]
        return through_time


class Avel(nn.Module):
    """One for what is seen and one for what is heard, forwards and backwards, side by side (AVEL, Tian et al. 2018)."""

    def __init__(self, visual: int, sound: int, hidden: int) -> None:
        super().__init__()
        self.width = 4 * hidden
        self.visual = nn.LSTM(visual, hidden, batch_first=True, bidirectional=True)
        self.audio = nn.LSTM(sound, hidden, batch_first=True, bidirectional=True)

    def forward(self, seen: Tensor, heard: Tensor) -> Tensor:
        """As of `SegmentPerceptron`."""
        return torch.cat([self.audio(heard)[0], self.visual(seen)[0]], -1)


class Avsdn(nn.Module):
    """One for each that reads all seconds, and another that begins where they end and tells the seconds in order
    (AVSDN, Lin et al. 2019)."""

    def __init__(self, visual: int, sound: int, hidden: int) -> None:
        super().__init__()
        self.width = hidden
        self.visual = nn.LSTM(visual, hidden, batch_first=True)
        self.audio = nn.LSTM(sound, hidden, batch_first=True)
        self.states = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(2))
        self.decoder = nn.LSTM(visual + sound, hidden, batch_first=True)

    def forward(self, seen: Tensor, heard: Tensor) -> Tensor:
        """As of `SegmentPerceptron`."""
        ends = zip(self.visual(seen)[1], self.audio(heard)[1], strict=True)  # hidden and cell states, [1, B, hidden]
        first = [join(torch.cat(both, -1)).tanh() for join, both in zip(self.states, ends, strict=True)]
        told: Tensor = self.decoder(torch.cat([seen, heard], -1), (first[0], first[1]))[0]
        return told

from dataclasses import dataclass


@dataclass
class ProteinConfig:
    width: int = 32
    heads: int = 2
    depth: int = 2
    attention_dropout: float = 0.1
    residues: int = 21
    folds: int = 3

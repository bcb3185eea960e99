"""`generate()` of a model of transformers predicts, in the mode that the program has set."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.engine.scan import scan

from ..faulty_and_right import marked, marked_form

HEADER = """\
import torch
from dataclasses import dataclass
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5ForConditionalGeneration
from data import read, load
"""

PROGRAMS = {
    "a context object, and functions that hand it on": """
@dataclass
class Context:
    net: T5ForConditionalGeneration
    tokenizer: object
    train_rows: object
    held_out: object

def answer(tokenizer, net: T5ForConditionalGeneration, rows):
    texts = []
    with torch.no_grad():
        for row in rows:
            ids = net.generate(row["question"], output_scores=True)  # <-
            texts.extend(tokenizer.batch_decode(ids))
    return texts

def validate(context: Context):
    #context.net.eval()
    return sum(a == b for a, b in zip(answer(context.tokenizer, context.net, context.held_out), read("answers")))

def fit(context: Context, epochs=3):
    net = context.net
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    &net.train()
    for _ in range(epochs):
        #net.train()
        for row in context.train_rows:
            loss = net(input_ids=row["question"], labels=row["answer"]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        print(validate(context))

def load_net(from_disk):
    if from_disk:
        net = T5ForConditionalGeneration.from_pretrained("weights")
    else:
        net = T5ForConditionalGeneration.from_pretrained("t5-small")
    net.to("cuda")
    return net

def main(from_disk=False):
    net = load_net(from_disk)
    fit(Context(net, AutoTokenizer.from_pretrained("t5-small"), read("train"), read("test")))
""",
    "at the top of a script": """
net = AutoModelForSeq2SeqLM.from_pretrained("t5-small").cuda()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
net.train()
for row in read("train"):
    net(**row).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
#net.eval()
with torch.no_grad():
    for row in read("test"):
        print(net.generate(row["input_ids"], max_new_tokens=20))  # <-
""",
    "a trainer": """
class Finetuner:
    def __init__(self, name):
        self.tokenizer = AutoTokenizer.from_pretrained(name)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(name)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    def fit(self, rows, held_out):
        for epoch in range(3):
            self.model.train()
            for row in rows:
                loss = self.model(**row)[0]
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            self.evaluate(held_out)

    @torch.no_grad()
    def evaluate(self, held_out):
        #self.model.eval()
        texts = [self.tokenizer.decode(self.model.generate(**row)[0]) for row in held_out]  # <-
        print(texts)

Finetuner("t5-small").fit(read("train"), read("test"))
""",
    "an argument with an annotation": """
def train_epoch(model: AutoModelForSeq2SeqLM, rows, optimizer):
    model.train()
    for row in rows:
        model(**row).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

@torch.inference_mode()
def predict(model: AutoModelForSeq2SeqLM, rows):
    return [model.generate(row["ids"], num_beams=4) for row in rows]  # <-

def run(model: AutoModelForSeq2SeqLM, optimizer, train_rows, test_rows):
    train_epoch(model, train_rows, optimizer)
    #model.eval()
    return predict(model, test_rows)
""",
    "closures in a main function with options": """
import argparse

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="t5-small")
    args = parser.parse_args()
    net = T5ForConditionalGeneration.from_pretrained(args.model)
    optimizer = torch.optim.AdamW(net.parameters())

    def epoch():
        net.train()
        for row in load("train"):
            loss = net(**row).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    def test():
        with torch.no_grad():
            for row in load("test"):
                print(net.generate(row["ids"]))  # <-

    for _ in range(5):
        epoch()
        #net.eval()
        test()

if __name__ == "__main__":
    main()
""",
    "a model with adapters": """
from peft import get_peft_model

def main(options):
    net = get_peft_model(AutoModelForSeq2SeqLM.from_pretrained(options.name), options.adapters)
    optimizer = torch.optim.AdamW(net.parameters())
    net.train()
    for row in read("train"):
        loss = net(**row).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    #net.eval()
    answers = []
    with torch.no_grad():
        for row in read("test"):
            answers += net.generate(row["ids"]).tolist()  # <-
    return answers

main(read("options"))
""",
}

MEANT = {
    "another library, whose generate() may set the mode itself": """
from x_transformers import build

net = build(512)
optimizer = torch.optim.AdamW(net.parameters())
net.train()
for row in read("train"):
    net(row).backward()
    optimizer.step()
    optimizer.zero_grad()
with torch.no_grad():
    print(net.generate(read("prompt"), 100))
""",
    "answers that the next step learns from": """
def main():
    net = AutoModelForSeq2SeqLM.from_pretrained("t5-small")
    optimizer = torch.optim.AdamW(net.parameters())
    net.train()
    for row in read("train"):
        with torch.no_grad():
            answer = net.generate(row["ids"], do_sample=True)
        loss = net(row["ids"], labels=answer).loss * load("reward", answer)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

main()
""",
    "the mode of the library": """
net = AutoModelForSeq2SeqLM.from_pretrained("t5-small")
with torch.no_grad():
    print(net.generate(read("prompt")))
""",
}


@pytest.mark.parametrize("faulty", [True, False], ids=["faulty", "right"])
@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in PROGRAMS.items()])
def test_generating_in_train_mode_after_training_is_found(tmp_path: Path, text: str, faulty: bool) -> None:
    """`generate()` after training is reported in the train mode of that training, and silent after `eval()`."""
    program = marked_form(HEADER + text, faulty)
    (tmp_path / "program.py").write_text(program)
    found = {(each.code, each.line) for each in scan([tmp_path]).findings}
    assert found == {("REG201", line) for line in marked(program)}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in MEANT.items()])
def test_generating_that_says_nothing_about_the_mode_is_left_alone(tmp_path: Path, text: str) -> None:
    """Other libraries' `generate()`, answers for the next step, and models that nobody trains are silent."""
    (tmp_path / "program.py").write_text(HEADER + text)
    assert [(each.code, each.line) for each in scan([tmp_path]).findings] == []

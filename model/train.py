#!/usr/bin/env python3
"""Trains the demonstration model on the built corpus.

python model/train.py --minutes 70      (time budget; the learning rate follows the clock)
python model/train.py --steps 4000      (step budget)
Two processes with one thread each train on their own batches and average their weights every few
steps (--workers, --sync); this loses less on a busy machine than one process with two threads.  A run continues from model/build/checkpoint.pt if that file exists; --fresh starts anew.
"""

import argparse
import json
import math
import os
import shutil
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Tokenizer

import data
from llama import CONFIG, Llama, load_weights
from muon import Muon


def loss_of(model, batch, marks=None):
    """Mean loss on answers and the number of their tokens.

    With marks, tokens where the prompt decides count more: the name of a fact three times,
    the choice after a sentence or a list mark (next one or the end) twice.
    """
    ids, pos, mask, lab = batch
    h = model.hidden(ids, pos, mask)
    keep = lab >= 0
    each = F.cross_entropy(model.head(h[keep]), lab[keep], reduction="none")
    if marks is None:
        return each.mean(), int(keep.sum())
    opens, closes, stops = (m[ids] for m in marks)
    at = torch.arange(ids.shape[1])
    inside = torch.where(opens, at, -1).cummax(1).values > torch.where(closes, at, -1).cummax(1).values
    weight = (1.0 + 2.0 * inside + 1.0 * stops)[keep]
    return (each * weight).sum() / weight.sum(), int(keep.sum())


def marks_of(tok):
    size, tokens = tok.get_vocab_size(), tok.get_vocab()
    opens, closes, stops = (torch.zeros(size, dtype=torch.bool) for _ in range(3))
    for token, i in tokens.items():
        opens[i] = token.endswith("[")
        closes[i] = "]" in token and not token.endswith("[")
        stops[i] = token.endswith((".", "-")) or token == "<|assistant|>"
    return opens, closes, stops


@torch.no_grad()
def held_loss(model, items):
    total = count = 0
    for i in range(0, len(items), 16):
        loss, n = loss_of(model, data.collate(items[i:i + 16]))
        total, count = total + loss.item() * n, count + n
    return total / count


def parse():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=0)
    ap.add_argument("--steps", type=int, default=0)
    ap.add_argument("--batch", type=int, default=8, help="groups per step and worker")
    ap.add_argument("--lr", type=float, default=6e-3, help="peak rate of the matrices of the layers")
    ap.add_argument("--embed-lr", type=float, default=5e-3, help="peak rate of the embedding and the norms")
    ap.add_argument("--optimizer", choices=["muon", "adamw"], default="muon", help="for the matrices; the rest always uses AdamW")
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--weighted", action="store_true", help="give tokens that depend on the prompt more weight")
    ap.add_argument("--sync", type=int, default=8, help="the workers average their weights after this many steps")
    ap.add_argument("--fresh", action="store_true")
    ap.add_argument("--from-weights", action="store_true", help="without a checkpoint, start from model/weights and its tokenizer")
    ap.add_argument("--skip", type=int, default=0, help="leave out the first groups, for example those of an earlier run")
    ap.add_argument("--limit", type=int, default=0, help="use only the first groups (for tests)")
    args = ap.parse_args()
    assert args.minutes or args.steps, "give --minutes or --steps"
    return args


def run(rank, args):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    if args.workers > 1:
        os.setsid()
    if args.workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{args.meet}", rank=rank, world_size=args.workers)
    ckpt_path = os.path.join(data.BUILD, "checkpoint.pt")
    tok_path = os.path.join(data.BUILD, "tokenizer.json")
    log = open(os.path.join(data.HERE, "train.log"), "a", buffering=1)

    def say(text):
        if rank:
            return
        print(text, flush=True)
        log.write(text + "\n")

    resume = os.path.exists(ckpt_path) and not args.fresh
    tok = Tokenizer.from_file(tok_path)
    config = dict(CONFIG, vocab_size=tok.get_vocab_size())
    start = time.time()
    train = data.tokenised(tok, "train.jsonl", args.limit)[args.skip:]
    held = data.tokenised(tok, "heldout.jsonl", 64)
    lengths = [x.shape[1] for x in train]
    weights = os.path.join(data.HERE, "weights")
    model = load_weights(weights).train() if args.from_weights and not resume else Llama(config)
    params = sum(p.numel() for p in model.parameters())
    decay = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    plain = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    if args.optimizer == "muon":
        first = Muon(decay, lr=args.lr)
    else:
        first = torch.optim.AdamW(decay, lr=args.lr, betas=(0.9, 0.97), weight_decay=0.05, fused=True)
    opts = [(first, args.lr), (torch.optim.AdamW(plain, lr=args.embed_lr, betas=(0.9, 0.97), weight_decay=0.0, fused=True), args.embed_lr)]
    ema = {n: p.detach().clone() for n, p in model.named_parameters()}
    s = {"step": 0, "epoch": 0, "at": 0, "tokens": 0, "answer_tokens": 0, "seconds": 0.0}
    if resume:
        ck = torch.load(ckpt_path, weights_only=False)
        model.load_state_dict(ck["model"])
        for (opt, _), saved in zip(opts, ck["opts"]):
            opt.load_state_dict(saved)
        ema, s = ck["ema"], ck["state"]
        say(f"weights of {args.workers} workers averaged every {args.sync} steps; a step below is one batch of {args.batch} groups in every worker")
        say(f"resumed {time.strftime('%H:%M:%SZ', time.gmtime())} at step {s['step']}")
    else:
        stats = json.load(open(os.path.join(data.BUILD, "stats.json")))
        say(f"start {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime())} params {params} vocab {config['vocab_size']} "
            f"groups {len(train)} tokens/epoch {sum(lengths)} answer tokens/epoch {sum(int((x[4] >= 0).sum()) for x in train)} "
            f"corpus {stats['sha256'][:16]} batch {args.batch} groups x {args.workers} {args.optimizer} lr {args.lr} embed lr {args.embed_lr} budget {args.minutes} min {args.steps} steps "
            f"(tokenised in {time.time() - start:.0f} s)")
        if args.from_weights:
            say(f"from the weights in model/weights, without the first {args.skip} groups; held-out answer loss {held_loss(model, held):.4f}")

    def save():
        torch.save({"model": model.state_dict(), "opts": [o.state_dict() for o, _ in opts], "ema": ema, "state": s, "config": config}, ckpt_path + ".tmp")
        os.replace(ckpt_path + ".tmp", ckpt_path)

    marks = marks_of(tok) if args.weighted else None
    if args.weighted:
        say("weighted loss: names of facts 3, first token after a stop or list mark 2, the rest 1 (the logged loss is the weighted one)")
    size = args.batch * args.workers
    batches = data.order(len(train), s["epoch"], lengths, size)
    clock, saved, evaluated = time.time(), time.time(), time.time()
    run_loss, run_n, run_tok, run_t, told = 0.0, 0, 0, time.time(), s["step"]
    flat_of = lambda: torch.cat([p.detach().flatten() for p in model.parameters()])  # noqa: E731
    tally = torch.zeros(3)
    while True:
        minutes = s["seconds"] / 60
        done = min(1.0, minutes / args.minutes if args.minutes else s["step"] / args.steps)
        if s["at"] >= len(batches):
            s["epoch"], s["at"] = s["epoch"] + 1, 0
            batches = data.order(len(train), s["epoch"], lengths, size)
        scale = min(1.0, (s["step"] + 1) / 60) * max(0.01, 0.5 * (1 + math.cos(math.pi * done)) * 0.6 + 0.4 * (1 - done))
        for opt, peak in opts:
            for g in opt.param_groups:
                g["lr"] = peak * scale
        batch = data.collate([train[j] for j in batches[s["at"]][rank::args.workers]])
        loss, n = loss_of(model, batch, marks)
        model.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt, _ in opts:
            opt.step()
        tally += torch.tensor([float(n), float((batch[0] != data.PAD).sum()), loss.item() * n])
        s["step"], s["at"] = s["step"] + 1, s["at"] + 1
        now = time.time()
        s["seconds"] += now - clock
        clock = now
        if s["step"] % args.sync and not (args.steps and s["step"] >= args.steps):
            continue
        # Every few steps the workers average their weights and agree whether to go on.
        flat = torch.cat((flat_of(), tally))
        stop = torch.tensor([1.0 if s["seconds"] / 60 >= (args.minutes or 1e9) or s["step"] >= (args.steps or 1e9) else 0.0])
        if args.workers > 1:
            dist.all_reduce(flat)
            dist.broadcast(stop, 0)
            with torch.no_grad():
                for p, part in zip(model.parameters(), (flat[:-3] / args.workers).split([p.numel() for p in model.parameters()])):
                    p.copy_(part.view_as(p))
        s["answer_tokens"], s["tokens"] = s["answer_tokens"] + int(flat[-3]), s["tokens"] + int(flat[-2])
        run_n, run_tok, run_loss = run_n + int(flat[-3]), run_tok + int(flat[-2]), run_loss + flat[-1].item()
        tally.zero_()
        with torch.no_grad():
            torch._foreach_lerp_([ema[k] for k, _ in model.named_parameters()], [p.detach() for p in model.parameters()], 0.05)
        now = time.time()
        if s["step"] - told >= 24:
            say(f"step {s['step']} loss {run_loss / run_n:.4f} lr {args.lr * scale:.2e} norm {norm:.2f} tokens {s['tokens']} "
                f"answers {s['answer_tokens']} tok/s {run_tok / (now - run_t):.0f} min {s['seconds'] / 60:.1f}")
            run_loss, run_n, run_tok, run_t, told = 0.0, 0, 0, now, s["step"]
        if rank == 0 and now - saved > 90:
            save()
            saved = now
        if rank == 0 and now - evaluated > 420:
            say(f"held-out answer loss {held_loss(model, held):.4f} at step {s['step']}")
            evaluated = time.time()
        if stop.item():
            break
    if rank:
        return
    save()
    say(f"held-out answer loss {held_loss(model, held):.4f} at the end")
    say(f"done {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime())} step {s['step']} tokens {s['tokens']} "
        f"answer tokens {s['answer_tokens']} minutes {s['seconds'] / 60:.1f}")


def main():
    args = parse()
    tok_path = os.path.join(data.BUILD, "tokenizer.json")
    if args.from_weights and not os.path.exists(tok_path):
        shutil.copyfile(os.path.join(data.HERE, "weights", "tokenizer.json"), tok_path)
    if args.fresh or not os.path.exists(tok_path):
        data.train_tokenizer(tok_path, CONFIG["vocab_size"])
    if args.workers == 1:
        return run(0, args)
    args.meet = os.path.join(data.BUILD, f"meet.{os.getpid()}")
    try:
        torch.multiprocessing.spawn(run, (args,), args.workers)
    finally:
        if os.path.exists(args.meet):
            os.remove(args.meet)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Builds the training corpus: python model/corpus/build.py [--groups 80000] [--seed 1]

Output (model/build/): train.jsonl, heldout.jsonl, stats.json.  Committed beside this file:
sample.jsonl and corpus.sha256.  One line is one group: a system message, several user
messages, several answers to each.
"""

import argparse
import hashlib
import json
import os
import random
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import special_engineering as eng  # noqa: E402
import special_weekly as wk  # noqa: E402
from facts import AIMS, FACTS, UNKNOWN_WORDS  # noqa: E402
from grammar import AREAS, KINDS, headings_for, outline, paragraph, special_paragraph  # noqa: E402
from outlines import DOCS, UNKNOWN_AREAS, UNKNOWN_DOCS  # noqa: E402
from special_finance_legal import CONTRACT, CONTRACT_FACTS, INVOICE, INVOICE_FACTS  # noqa: E402
from values import NOUNS, PLURALS, background, value  # noqa: E402

SYSTEM = ("Area: {area}\nDocument: {doc}\nWrite plain business English. Refer to a fact only by its name "
          "in square brackets. Never invent numbers, names or dates.")
SPECIAL = {"invoice": "finance", "contract": "legal", "release notes": "engineering",
           "incident report": "engineering", "weekly report": "analytics"}
SINGULAR = {"analysis", "minutes"}


def held_out(area, doc, section):
    key = f"{area}|{doc}|{section}".lower().encode()
    return hashlib.sha256(key).digest()[0] < 13  # about five percent


def subset(r, pool, low=1, keep=0.75):
    out = [f for f in pool if r.random() < keep]
    while len(out) < low:
        out = sorted(set(out) | {r.choice(pool)})
    return out[:10]


def sentences(r):
    return r.choices([2, 3, 4, 5], [20, 40, 25, 15])[0]


def fact_lines(r, facts, values):
    order = list(facts)
    if r.random() < 0.5:
        r.shuffle(order)
    return "".join(f"[{f}] {values[f]}\n" for f in order)


def case(r, text):
    roll = r.random()
    if roll < 0.82:
        return text
    return r.choice([text.capitalize(), text.title(), text.upper(), text.capitalize()])


def make_title(r, area, doc, values, context):
    subject = values.get("subject")
    label = doc[:1].upper() + doc[1:]
    if not subject:
        main = next((values[f] for f in ("repository", "incident", "metric", "invoice_number", "party_b") if f in values), None)
        return r.choice([label, label if main is None else f"{label}: {main}", f"{label} {main or ''}".strip()])
    base = f"{area[:1].upper() + area[1:]} {doc}" if context == "free" and not doc.startswith(area) else label
    return r.choice([f"{base}: {subject}", f"{base}: {subject}", f"{label}: {subject}", f"{label} for {subject}",
                     subject[:1].upper() + subject[1:], label])


def free_facts(r):
    facts = ["subject"] if r.random() < 0.95 else []
    n = r.choices([0, 1, 2, 3, 4, 6, 9], [30, 22, 18, 12, 9, 6, 3])[0]
    extra = r.sample(sorted(FACTS), n)
    if r.random() < 0.12:
        for _ in range(r.randint(1, 3)):
            name = r.choice(UNKNOWN_WORDS)
            if r.random() < 0.6:
                name = r.choice(UNKNOWN_WORDS) + "_" + name
            if name not in extra:
                extra.append(name)
    facts = facts + extra
    return facts[:10] or ["subject"]


def head_of(r, title, facts, values):
    """The beginning that all prompts of one document share: whatever is the same in every section."""
    out = f"Title: {title}\n"
    if r.random() < 0.15:
        out += f"Context: {background(r)}\n"
    return out + ("Facts:\n" + fact_lines(r, facts, values) if facts else "")


def user_prompt(head, section, aim, n):
    return head + f"Section: {section}\n" + (f"Aim: {aim}\n" if aim else "") + f"Write {n} sentences."


def vary_heading(r, head, values):
    roll = r.random()
    if roll < 0.04 and "subject" in values:
        return f"{head}: {values['subject']}"
    if roll < 0.07 and "subject" in values and ":" not in head:
        return f"{head} for {values['subject']}"
    if roll < 0.10:
        return r.choice([head.lower(), head.upper(), head.title()])
    if roll < 0.12:
        return f"{r.randint(1, 9)}. {head}"
    return head


def free_document(r, area, doc):
    """Facts, their values and the head of the prompts of a free document."""
    facts = free_facts(r)
    values = {f: value(f, r) for f in facts}
    return facts, values, head_of(r, make_title(r, area, doc, values, "free"), facts, values)


def free_prompt(r, area, doc, doc_word, document):
    kinds = DOCS.get(doc, DOCS["document"]).split()
    kind = r.choice(kinds) if r.random() < 0.8 else r.choice(sorted(KINDS))
    head = headings_for(r, area, doc, kind)
    if r.random() < 0.04:  # a heading nobody has foreseen
        kind, head = "generic", r.choice(["", "", "", "Our ", "About ", "The ", "New "]) + r.choice(NOUNS + PLURALS)
        head = head[:1].upper() + head[1:]
    facts, values, start = document
    aim = r.choice(r.choice(AIMS)[0]) if r.random() < 0.22 else ""
    n = sentences(r)
    user = user_prompt(start, vary_heading(r, head, values), aim, n)
    return head, user, lambda: paragraph(r, area, doc_word, kind, facts, n, aim)


def outline_prompt(r, area, doc, document):
    start = document[2]
    if doc in SPECIAL:
        pools = {"invoice": INVOICE_FACTS, "release notes": eng.RELEASE_FACTS, "incident report": eng.INCIDENT_FACTS,
                 "weekly report": wk.WEEKLY_FACTS, "contract": CONTRACT_FACTS}
        facts = subset(r, pools[doc], 1, 0.6)
        values = {f: value(f, r) for f in facts}
        start = head_of(r, make_title(r, area, doc, values, "free"), facts, values)
    n = r.randint(3, 8)
    kinds = DOCS.get(doc, DOCS["document"]).split()
    if doc not in ("invoice", "release notes", "incident report", "weekly report"):
        n = min(n, len(kinds))
    user = start + f"Write an outline with {n} sections."
    return "outline", user, lambda: "\n".join("- " + h for h in outline(r, area, doc, n))


def special_prompt(r, doc):
    n = sentences(r)
    aim, context = "", doc
    if doc in ("invoice", "contract"):
        s = r.choice(INVOICE if doc == "invoice" else CONTRACT)
        head = r.choice(s["heads"]) if r.random() < 0.3 else s["heads"][0]
        facts = subset(r, s["facts"], 1, r.choice([0.4, 0.7, 0.9]))
        if doc == "contract" and r.random() < 0.85:
            facts = list(dict.fromkeys(["party_a", "party_b"] + facts))
        pools = (s["open"], s["mid"], s["mid"], s["close"])
    elif doc == "release notes":
        aim = r.choice(list(eng.RELEASE_AIMS)[:-1]) if r.random() < 0.9 else ""
        key = eng.RELEASE_AIMS[aim]
        head = r.choice(["Summary", "Changes", "Upgrade note"])
        s = eng.RELEASE_SECTIONS[head]
        facts = subset(r, eng.RELEASE_FACTS, 1, r.choice([0.4, 0.6, 0.85]))
        pools = (s["open"][key], s["facts"], s["mid"][key], s["close"])
    elif doc == "incident report":
        aim = r.choice(list(eng.INCIDENT_AIMS)[:-1])
        key = eng.INCIDENT_AIMS[aim]
        head = r.choice(["Summary", "Impact", "Next steps"])
        pool = [f for f in eng.INCIDENT_FACTS if not (f == "resolved_at" and key in ("open", "issue"))]
        facts = subset(r, pool, 1, r.choice([0.4, 0.6, 0.85]))
        pools = (eng.INCIDENT_OPEN[head][key], eng.INCIDENT_FACT["*"] + eng.INCIDENT_FACT[key],
                 eng.INCIDENT_MID[head][key], eng.INCIDENT_CLOSE[key])
    else:
        aim = r.choice(list(wk.WEEKLY_AIMS))
        key = wk.WEEKLY_AIMS[aim]
        head, context = r.choice(["Summary", "Breakdown", "Outlook"]), "weekly"
        pool = [f for f in wk.WEEKLY_FACTS if not (key == "first" and f in ("previous_period", "previous_total", "change", "change_percent"))]
        facts = subset(r, pool, 1, r.choice([0.5, 0.8, 0.95]))
        open_ = {"Summary": wk.OPEN[key], "Breakdown": wk.BREAKDOWN_OPEN, "Outlook": wk.OUTLOOK_OPEN[key] + wk.MID["Outlook"][key]}[head]
        pools = (open_, wk.FACT[key] + wk.FACT["*"], wk.MID[head][key] + wk.MID[head]["*"], wk.CLOSE[head])
    facts = facts[:10]
    values = {f: value(f, r, context) for f in facts}
    title = make_title(r, SPECIAL[doc], doc, values, "special")
    user = user_prompt(head_of(r, title, facts, values), head, aim, n)
    return head, user, lambda: special_paragraph(r, *pools, facts, n)


def check(user, answer):
    offered = set(re.findall(r"^\[([a-z_]+)\]", user, re.M))
    assert not re.search(r"\d", answer), answer
    if "Write an outline" in user:
        rows = answer.split("\n")
        assert len(rows) == int(re.search(r"with (\d)", user).group(1)), (user, answer)
        return len(set(rows)) == len(rows)
    assert set(re.findall(r"\[([^\]]*)\]", answer)) <= offered, (user, answer)
    assert answer.count(".") == int(re.search(r"Write (\d)", user).group(1)) and answer.endswith("."), (user, answer)
    assert not re.search(r"[{}|()#]", answer), answer
    return True


def group(r):
    roll = r.random()
    if roll < 0.34:
        doc = r.choice(list(SPECIAL))
        area, shown, doc_word, known = SPECIAL[doc], doc, doc, True
    else:
        area = r.choice(sorted(AREAS)) if r.random() < 0.93 else None
        doc = r.choice(sorted(DOCS)) if r.random() < 0.93 else None
        known = False
    shown_area = area or r.choice(UNKNOWN_AREAS)
    shown_doc = doc or r.choice(UNKNOWN_DOCS)
    area_key, doc_key = area or "general", doc or "document"
    system = SYSTEM.format(area=case(r, shown_area), doc=case(r, shown_doc))
    prompts, held = [], []
    named = area_key if area else shown_area
    document = free_document(r, named, doc or shown_doc)
    for _ in range(2 if known else 3):
        if r.random() < 0.2:
            document = free_document(r, named, doc or shown_doc)
        if known and r.random() < 0.93:
            section, user, answer = special_prompt(r, doc)
        elif r.random() < (0.8 if known else 0.27):
            section, user, answer = outline_prompt(r, named, doc_key, document)
        else:
            section, user, answer = free_prompt(r, named, doc or shown_doc, doc if doc in DOCS else "document", document)
        answers = []
        for _ in range(8):
            text = answer()
            if text not in answers and check(user, text):
                answers.append(text)
            if len(answers) == (3 if known else 2):
                break
        if answers:
            entry = {"section": section, "user": user, "answers": answers}
            (held if not known and held_out(shown_area, shown_doc, section) else prompts).append(entry)
    return ({"area": shown_area, "doc": shown_doc, "system": system, "prompts": prompts},
            {"area": shown_area, "doc": shown_doc, "system": system, "prompts": held})


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--groups", type=int, default=80000)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--show", type=int, default=0, help="print this many examples and stop")
    args = ap.parse_args()
    r = random.Random(args.seed)
    if args.show:
        for _ in range(args.show):
            g = group(r)[0]
            for p in g["prompts"][:1]:
                print(g["system"].split("\nWrite")[0].replace("\n", " / "))
                print(p["user"], *["\n=> " + a for a in p["answers"]], "\n", sep="")
        return
    out = os.path.join(HERE, "..", "build")
    os.makedirs(out, exist_ok=True)
    digest, stats = hashlib.sha256(), {"groups": 0, "prompts": 0, "answers": 0, "words": 0, "held_out_prompts": 0, "combinations": 0}
    combos, sample = set(), []
    with open(os.path.join(out, "train.jsonl"), "w", encoding="utf-8") as tr, \
            open(os.path.join(out, "heldout.jsonl"), "w", encoding="utf-8") as ho:
        for i in range(args.groups):
            train, held = group(r)
            for g, f in ((train, tr), (held, ho)):
                if g["prompts"]:
                    line = json.dumps(g, ensure_ascii=False) + "\n"
                    f.write(line)
                    digest.update(line.encode())
            stats["groups"] += 1
            stats["held_out_prompts"] += len(held["prompts"])
            for p in train["prompts"]:
                stats["prompts"] += 1
                stats["answers"] += len(p["answers"])
                stats["words"] += sum(len(a.split()) for a in p["answers"])
                combos.add((g["area"], g["doc"], p["section"]))
            if i < 100 and train["prompts"]:
                sample.append(train)
    stats["combinations"] = len(combos)
    stats["sha256"] = digest.hexdigest()
    with open(os.path.join(out, "stats.json"), "w") as f:
        json.dump(stats, f, indent=1)
    with open(os.path.join(HERE, "sample.jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps(g, ensure_ascii=False) + "\n" for g in sample)
    with open(os.path.join(HERE, "corpus.sha256"), "w") as f:
        f.write(f"{stats['sha256']}  train+heldout, seed {args.seed}, {args.groups} groups\n")
    print(json.dumps(stats, indent=1))


if __name__ == "__main__":
    main()

"""Turns frames into paragraphs and outlines."""

import re

import kinds_b  # noqa: F401  (register their kinds)
import kinds_c  # noqa: F401
import areas_b  # noqa: F401
from areas_a import AREAS
from facts import AIMS, FACTS, PAIRS, UNKNOWN
from kinds_a import KINDS
from outlines import DOC_HEADS, DOCS, SPECIAL_OUTLINES
from voices import VOICES

FACT = re.compile(r"\[([a-z_]+)\]")
ORDERED = {"goals", "process", "timeline", "approach", "options", "next_steps", "installation",
           "onboarding", "measures", "tools", "troubleshooting"}
CONNECTORS = ["In addition, ", "At the same time, ", "Beyond that, ", "In practice, ", "To support this, ",
              "As a rule, ", "In this context, ", "Above all, "]
DOUBLE = {"plan", "put", "stop", "cut", "get", "set", "log", "begin", "shift"} - {"shift"}


def gerund(phrase):
    first, _, rest = phrase.partition(" ")
    if first in DOUBLE:
        word = first + first[-1] + "ing"
    elif first.endswith("e") and not first.endswith("ee"):
        word = first[:-1] + "ing"
    else:
        word = first + "ing"
    return word + (" " + rest if rest else "")


def cap(text):
    return text[:1].upper() + text[1:]


class Words:
    """Fills slots; never uses a phrase twice in one paragraph."""

    def __init__(self, r, area, doc):
        self.r, self.doc, self.used = r, doc, set()
        self.voc = AREAS.get(area) or AREAS["general"]

    def take(self, field):
        options = [x for x in self.voc[field] if x not in self.used] or self.voc[field]
        phrase = self.r.choice(options)
        self.used.add(phrase)
        return phrase

    def slot(self, match):
        name, _, mod = match.group(1).partition("|")
        if name == "doc":
            return self.doc
        if name in ("team", "Team"):
            return cap(self.voc["team"]) if name == "Team" else self.voc["team"]
        field = {"role": "roles", "act": "acts", "ing": "acts", "goal": "goals", "item": "items",
                 "measure": "measures", "risk": "risks", "tool": "tools", "who": "who"}[name.lower()]
        text = self.take(field)
        if name == "ing":
            text = gerund(text)
        return cap(text) if mod == "cap" or name[0].isupper() else text

    def fill(self, frame):
        while True:
            new = re.sub(r"\(([^()]*\|[^()]*)\)", lambda m: self.r.choice(m.group(1).split("|")), frame, count=1)
            if new == frame:
                break
            frame = new
        return re.sub(r"\{([A-Za-z|]+)\}", self.slot, frame)


def names(frame):
    return set(FACT.findall(frame))


NEEDS = [("A second option", "The first option"), ("A third way", "A second option"),
         ("As a second step", ""), ("A second aim", ""), ("After that", ""), ("Then {", ""),
         ("In the next step", ""), ("As soon as", ""), ("The next task", ""), ("In addition", ""),
         ("After a successful", "In the test phase")]


def well_ordered(frames):
    for i, frame in enumerate(frames):
        for start, before in NEEDS:
            if frame.startswith(start) and not any(f.startswith(before) for f in frames[:i] if f):
                return False
        if frame.startswith("First,") and i > 0:
            return False
    return True


def choose_mids(r, pool, count, ordered):
    count = max(0, min(count, len(pool)))
    for _ in range(30):
        idx = r.sample(range(len(pool)), count)
        if ordered or r.random() < 0.5:
            idx.sort()
        frames = [pool[i] for i in idx]
        if well_ordered(frames):
            return frames
    return [f for f in pool if not any(f.startswith(s) for s, _ in NEEDS)][:count]


def paragraph(r, area, doc, kind, facts, n, aim=""):
    """One paragraph of n sentences for a free document."""
    words, k = Words(r, area, doc), KINDS[kind]
    rest = [f for f in facts if f != "subject"]
    opening = r.choice(k["open"])
    if "subject" not in facts:
        opening = opening.replace("[subject]", r.choice(["this topic", "this project", "this task"]))
        if "work on this task" in opening or "this topic to" in opening:
            opening = opening.replace("this task", "this project")
    close = r.choice(k["close"]) if r.random() < (0.2 if n == 2 else 0.6) else None
    room = n - 1 - (1 if close else 0)
    r.shuffle(rest)
    fact_frames, covered = [], set()
    want = room if (n <= 3 or len(rest) > room) else max(1, room - 1)
    if len(rest) <= room and r.random() < 0.15:
        want = max(0, want - 1)
    for pair, frames in PAIRS.items():
        if len(fact_frames) < want and set(pair) <= set(rest) and not set(pair) & covered and r.random() < 0.7:
            fact_frames.append(r.choice(frames))
            covered |= set(pair)
    for f in rest:
        if f in covered or len(fact_frames) >= want:
            continue
        frame = r.choice(FACTS[f]) if f in FACTS else r.choice(UNKNOWN).replace("#", f"[{f}]")
        fact_frames.append(frame)
        covered.add(f)
    extra = []
    for texts, sentences in AIMS:
        if aim in texts and room > len(fact_frames) and r.random() < 0.75:
            extra.append(r.choice(sentences))
    left = room - len(fact_frames) - len(extra)
    voice = []
    if left > 1 and r.random() < 0.45 or left == 1 and r.random() < 0.12:
        voice = [r.choice([v for v in VOICES.get(area, VOICES["general"]) if "subject" in facts or "[" not in v])]
    mids = choose_mids(r, k["mid"], left - len(voice), kind in ORDERED)
    body = list(mids)
    for frame in voice:
        body.insert(r.choice([0, len(body)]), frame)
    for frame in fact_frames:
        body.insert(r.randint(0, len(body)), frame)
    for frame in extra:
        body.insert(r.randint(max(0, len(body) - 1), len(body)), frame)
    out = [words.fill(opening)]
    linked = False
    for i, frame in enumerate(body):
        text = words.fill(frame)
        if i > 0 and not linked and frame in mids and r.random() < 0.3 and re.match(r"(We |\{Role\}|\{Team\}|Each |All )", frame):
            text = r.choice(CONNECTORS) + text[0].lower() + text[1:]
            linked = True
        out.append(text)
    if close:
        out.append(words.fill(close))
    return " ".join(out)


def special_paragraph(r, open_, facts_pool, mid, close, facts, n):
    """One paragraph of n sentences from pools whose frames name the facts they need."""
    have, used, out = set(facts), set(), []

    def usable(pool, fresh=True):
        found = []
        for frame in pool:
            need = names(frame)
            if need <= have and frame not in out and not (fresh and need and need & used):
                found.append((frame, 1 + 3 * len(need - used)))
        return found

    def draw(options):
        frame = r.choices([f for f, _ in options], [w for _, w in options])[0]
        out.append(frame)
        used.update(names(frame))

    draw(usable(open_) or usable(mid))
    closing = r.random() < (0.15 if n == 2 else 0.55)
    while len(out) < n:
        last = closing and len(out) == n - 1
        if last:
            options = usable(close)
        else:
            with_fact = [(f, w) for f, w in usable(facts_pool) if names(f)]
            free = [(f, w) for f, w in usable(mid) + usable(facts_pool) if not names(f)]
            options = with_fact if with_fact and (not free or r.random() < 0.72) else free
        options = options or usable(mid, False) or usable(close, False) or usable(facts_pool, False)
        draw(options)
    return " ".join(out)


CLOSING = {"Conclusion", "Summary and outlook", "Closing remarks"}


def headings_for(r, area, doc, kind, last=True):
    own = [h for h, k in (AREAS.get(area) or AREAS["general"])["heads"] if k == kind]
    of_doc = [h for h, k in DOC_HEADS.get(doc, []) if k == kind]
    if not last:
        of_doc = [h for h in of_doc if h not in CLOSING]
    roll = r.random()
    if own and roll < 0.45:
        return r.choice(own)
    if of_doc and roll < 0.75:
        return r.choice(of_doc)
    return r.choice([h for h in KINDS[kind]["heads"] if last or h not in CLOSING])


def outline(r, area, doc, n):
    if doc in SPECIAL_OUTLINES:
        heads = SPECIAL_OUTLINES[doc]
        idx = sorted({0} | set(r.sample(range(1, len(heads)), n - 1)))
        return [heads[i] for i in idx]
    kinds = DOCS.get(doc, DOCS["document"]).split()
    own_kinds = [k for _, k in (AREAS.get(area) or AREAS["general"])["heads"]]
    idx = list(range(len(kinds)))
    if n > len(kinds):
        n = len(kinds)
    weights = [1.6 if kinds[i] in own_kinds else 1.0 for i in idx]
    chosen = {0} if r.random() < 0.8 else set()
    if r.random() < 0.6:
        chosen.add(len(kinds) - 1)
    while len(chosen) < n:
        chosen.add(r.choices(idx, weights)[0])
    while len(chosen) > n:
        chosen.discard(r.choice(sorted(chosen)))
    out, seen = [], set()
    for i in sorted(chosen):
        for _ in range(20):
            head = headings_for(r, area, doc, kinds[i], i == len(kinds) - 1)
            key = {w for w in re.findall(r"[a-z]+", head.lower()) if len(w) > 3}
            if head.lower() not in seen and not any(key and key & s for s in seen if isinstance(s, frozenset)):
                break
        seen.add(head.lower())
        seen.add(frozenset(key))
        out.append(head)
    return out

"""Document types: which kinds of section they have, in reading order."""

DOCS = {
    "strategy": "background goals audience principles approach messages channels options resources timeline risks measures next_steps",
    "plan": "background goals scope responsibilities process timeline resources budget risks measures next_steps",
    "process": "goals scope responsibilities requirements process tools quality risks review support",
    "policy": "goals scope principles requirements responsibilities process compliance training review support",
    "manual": "safety scope requirements installation operation maintenance troubleshooting support",
    "guide": "summary audience requirements process tools risks generic support",
    "report": "summary background findings measures risks recommendations next_steps",
    "proposal": "summary background approach offer benefits timeline budget next_steps",
    "contract": "goals scope responsibilities timeline budget confidentiality compliance review",
    "campaign": "background goals audience messages channels timeline budget responsibilities measures",
    "brief": "background goals audience messages scope requirements timeline budget",
    "analysis": "goals background approach findings options risks recommendations next_steps",
    "procedure": "goals scope responsibilities requirements process safety compliance review",
    "handbook": "summary principles responsibilities process tools training compliance support",
    "checklist": "requirements resources process responsibilities quality review support",
    "presentation": "summary background goals approach benefits findings recommendations next_steps",
    "newsletter": "summary messages findings audience training timeline generic support",
    "business plan": "summary offer audience background approach responsibilities channels resources budget risks timeline",
    "job description": "summary tasks profile responsibilities benefits onboarding support",
    "onboarding plan": "goals onboarding responsibilities training tools review support",
    "risk assessment": "scope background risks approach responsibilities measures review next_steps",
    "project plan": "background goals scope responsibilities timeline resources budget risks quality messages next_steps",
    "meeting summary": "background findings recommendations responsibilities timeline next_steps",
    "concept": "background goals audience approach resources timeline budget risks next_steps",
    "document": "summary background goals approach responsibilities timeline support next_steps",
}

# Headings that belong to one type of document.
DOC_HEADS = {
    "strategy": "Strategic goals = goals; Strategic approach = approach; Fields of action = scope; From plan to action = next_steps",
    "plan": "Work packages = process; Planning basis = background; Planned measures = process",
    "process": "Purpose of the process = goals; Process owner = responsibilities; Inputs and outputs = requirements; Process flow = process",
    "policy": "Purpose of this policy = goals; Area of validity = scope; Binding rules = requirements; Violations = compliance; Validity and review = review",
    "manual": "About this manual = summary; Before you begin = requirements; Intended use = scope; Service and contact = support",
    "guide": "How to use this guide = summary; Tips for practice = generic; Common mistakes = risks; Step by step = process",
    "report": "Purpose of the report = summary; Results in detail = findings; Assessment = recommendations",
    "proposal": "Our understanding of the task = background; Why choose us = benefits; Your investment = budget; Proposed solution = approach",
    "contract": "Subject of the contract = scope; Fee and payment = budget; Term of the contract = timeline; Duties of both parties = responsibilities; Changes in writing = review",
    "campaign": "Campaign idea = approach; Campaign goals = goals; Campaign channels = channels; Call to action = messages",
    "brief": "Task = scope; What we need from you = requirements; Tone and style = principles; Deliverables = scope",
    "analysis": "Question = goals; Data and method = approach; Strengths and weaknesses = findings; Conclusions = recommendations",
    "procedure": "Purpose of the procedure = goals; When to use this procedure = scope; Carrying out the work = process; Completion and records = compliance",
    "handbook": "How we work together = principles; Daily routines = process; Who to ask = support; Rules at a glance = requirements",
    "checklist": "Before you start = requirements; During the work = process; After completion = review; Final check = quality",
    "presentation": "Welcome = summary; Our idea = approach; What it brings = benefits; Questions and discussion = support",
    "newsletter": "Welcome = summary; News = messages; Behind the scenes = generic; Dates to remember = timeline; Your opinion counts = support",
    "business plan": "Business idea = offer; Market and customers = audience; Management and team = responsibilities; Marketing and sales = channels; Financial plan = budget",
    "job description": "About the position = summary; Your tasks = tasks; Your profile = profile; What we offer = benefits; How to apply = support",
    "onboarding plan": "Before the first day = onboarding; The first week = onboarding; The first months = onboarding; Your mentor = support; Feedback talks = review",
    "risk assessment": "Identified risks = risks; Evaluation of risks = risks; Protective measures = safety; Remaining risk = risks; Monitoring of risks = review",
    "project plan": "Project goals = goals; Work packages = scope; Project team = responsibilities; Milestones = timeline; Project communication = messages",
    "meeting summary": "Topics discussed = background; Decisions = recommendations; Tasks = responsibilities; Open questions = next_steps; Next meeting = next_steps",
    "concept": "Idea = approach; Basic concept = approach; Implementation = process",
    "document": "Introduction = summary; Main part = generic; Closing remarks = summary",
}

DOC_HEADS = {
    doc: [tuple(x.strip() for x in part.split("=")) for part in text.split(";")]
    for doc, text in DOC_HEADS.items()
}

# Fixed outlines of the special documents.
SPECIAL_OUTLINES = {
    "invoice": "Covering note; Services provided; Amount and taxes; Payment terms; Bank details; Contact; Notes; Closing",
    "release notes": "Summary; Changes; Improvements; Corrected faults; Known issues; Upgrade note; Compatibility; Thanks",
    "incident report": "Summary; Timeline; Impact; Cause; Solution; Communication; Lessons learned; Next steps",
    "weekly report": "Summary; Key figures; Breakdown; Comparison; Data basis; Unusual values; Outlook; Next steps",
}
SPECIAL_OUTLINES = {k: [h.strip() for h in v.split(";")] for k, v in SPECIAL_OUTLINES.items()}

UNKNOWN_AREAS = """
    facility management; research; education; health; travel; communication; production; design;
    sustainability; environment; events; real estate; administration; innovation; public relations;
    IT; data; support; product; planning; energy; insurance; retail; hospitality; agriculture;
    construction; board; kitchen; library; volunteers; club; science; media; other; misc
    """
UNKNOWN_DOCS = """
    memo; white paper; charter; letter; announcement; invitation; roadmap; specification; minutes;
    agenda; faq; statement; review; study; overview; note; summary; protocol; instruction; agreement;
    offer; template; catalogue; case study; press release; blog post; fact sheet; programme; form
    """
UNKNOWN_AREAS = [x.strip() for x in UNKNOWN_AREAS.split(";")]
UNKNOWN_DOCS = [x.strip() for x in UNKNOWN_DOCS.split(";")]

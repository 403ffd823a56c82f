"""Vocabulary of the areas, part two (see areas_a for the fields)."""

from areas_a import AREAS, area  # noqa: F401

area(
    "strategy", "the leadership team",
    roles="the managing director; the strategy lead; the project sponsor; the head of the business unit; the board; the transformation manager",
    acts="concentrate on a few priorities; test assumptions before large investments; review the direction every quarter; stop activities that no longer fit; build on existing strengths; compare options on the same criteria; link every project to a goal; listen to customers and front-line staff; make decisions visible; plan for more than one outcome",
    goals="secure long-term growth; sharpen our position in the market; use resources where they count most; open up new sources of income; prepare the company for change; make the organisation more resilient",
    items="strategic initiatives; market analyses; decision papers; roadmaps; scenario studies; quarterly reviews",
    measures="market share; progress on the main initiatives; profitable growth; customer loyalty; the return on invested capital; the share of new business",
    risks="changing markets; new competitors; too many priorities; slow decisions; unfinished initiatives; skills shortages",
    tools="a strategy map; a list of ranked priorities; a quarterly review; a simple scorecard; a portfolio overview",
    who="owners and investors; managers; employees; strategic partners; core customers",
    heads="Vision and direction = principles; Strategic priorities = goals; Market and competition = background; Business model = offer; Growth options = options; Initiatives and roadmap = timeline; Resources and investment = resources; Opportunities and risks = risks; Governance = responsibilities; Our strengths = benefits",
)
area(
    "customer service", "the customer service team",
    roles="the service manager; the support agent; the team lead; the complaint officer; the field technician; the quality coach",
    acts="answer every request on the same day; confirm each case in writing; listen before offering a solution; keep the customer informed until the case is closed; pass difficult cases to a named contact; thank customers for open feedback; log every contact; look for the cause behind repeated complaints; apologise for mistakes without excuses; check the result with the customer; use plain words",
    goals="solve requests at the first contact; keep response times short; turn complaints into improvements; give customers one reliable contact; raise satisfaction; make help easy to find",
    items="answer templates; service guides; case notes; frequently asked questions; feedback surveys; escalation lists",
    measures="response times; first-contact solutions; customer satisfaction; the number of open cases; repeated complaints; the length of calls",
    risks="long waiting times; contradictory answers; lost cases; peaks in demand; gaps in product knowledge; unclear escalation paths",
    tools="a ticket system; a shared knowledge base; a call guide; a complaint log; a duty roster",
    who="customers; users; callers with urgent problems; sales colleagues; service partners",
    heads="Service standards = requirements; Handling complaints = process; Contact channels = channels; Response times = measures; Escalation = responsibilities; Customer feedback = review; Service team and duties = responsibilities; Knowledge base = tools; Dealing with difficult cases = approach; Follow-up with the customer = next_steps",
)
area(
    "quality", "the quality team",
    roles="the quality manager; the internal auditor; the inspector; the process owner; the laboratory lead; the supplier auditor",
    acts="inspect incoming goods; record every deviation; find the root cause before acting; check whether corrective actions work; keep test equipment calibrated; train staff on the standard; release products only after inspection; mark blocked goods clearly; compare results over time; audit each process once a year; keep records complete and readable",
    goals="deliver the same quality every time; detect defects early; meet the agreed standard; reduce rework and waste; make improvements last; build the trust of our customers",
    items="inspection plans; test reports; audit findings; corrective actions; quality records; process descriptions",
    measures="the defect rate; the number of complaints; audit findings; the cost of rework; first-pass yield; overdue actions",
    risks="undetected defects; incomplete records; drifting processes; uncalibrated equipment; supplier faults; repeated deviations",
    tools="an inspection plan; a deviation log; an audit programme; a control chart; a corrective action list",
    who="customers; process owners; auditors; suppliers; inspection staff",
    heads="Quality objectives = goals; Inspection and testing = quality; Handling of deviations = process; Corrective actions = next_steps; Internal audits = review; Documents and records = compliance; Acceptance criteria = requirements; Calibration = maintenance; Supplier quality = responsibilities; Continuous improvement = review",
)
area(
    "analytics", "the analytics team",
    roles="the data analyst; the data owner; the reporting lead; the business analyst; the head of analytics; the responsible controller",
    acts="define each figure before it is reported; check the data source first; compare like with like; show trends instead of single values; explain outliers in plain words; document every assumption; separate facts from interpretation; repeat the analysis with fresh data; share results with the people who act on them; automate recurring reports; protect personal data in every report",
    goals="support decisions with reliable figures; make trends visible; find the causes behind the numbers; agree on one source of truth; shorten the time from question to answer; spot changes early",
    items="dashboards; monthly reports; data definitions; trend charts; survey results; forecast models",
    measures="data quality; the accuracy of forecasts; the use of reports; trends over time; differences between groups; the time to an answer",
    risks="incomplete data sets; small samples; wrong conclusions; conflicting definitions; outdated sources; manual errors",
    tools="a central data store; a shared dashboard; a data dictionary; a standard report; a repeatable query",
    who="managers; decision makers; specialist departments; data owners; readers of the report",
    heads="Data sources = resources; Method = approach; Main findings = findings; Trends and patterns = findings; Limits of the data = risks; Interpretation = findings; Recommendations = recommendations; Question and purpose = goals; Key figures = measures; Data quality = quality",
)
area(
    "procurement", "the purchasing team",
    roles="the purchasing manager; the strategic buyer; the category lead; the requester; the supplier manager; the head of purchasing",
    acts="ask for several comparable offers; check suppliers before the first order; agree on delivery terms in writing; bundle orders where it saves money; compare total costs instead of unit prices; keep a second source for critical items; approve orders before they are placed; review the main suppliers once a year; record every delay; negotiate fair terms; consider environmental standards in the choice",
    goals="secure supply at fair conditions; reduce the total cost of purchases; work with reliable suppliers; make every order traceable; avoid dependence on single sources; keep the selection fair",
    items="requests for quotation; supplier ratings; framework agreements; order confirmations; specifications; delivery schedules",
    measures="savings against the last price; on-time delivery; the number of active suppliers; complaint rates; order lead times; the share of orders under contract",
    risks="supply bottlenecks; single-source items; price increases; late deliveries; unapproved orders; weak supplier standards",
    tools="an approved supplier list; a comparison sheet; a standard order form; a supplier scorecard; a contract overview",
    who="requesters; suppliers; budget owners; quality inspectors; warehouse staff",
    heads="Supplier selection = options; Request and approval = process; Order process = process; Delivery terms = requirements; Supplier evaluation = review; Price and conditions = budget; Demand and specification = requirements; Supply risks = risks; Fair competition = principles; Contract management = responsibilities",
)
area(
    "logistics", "the logistics team",
    roles="the warehouse manager; the dispatcher; the transport planner; the goods-in clerk; the fleet manager; the logistics lead",
    acts="label every pallet clearly; check deliveries at the gate; plan routes one day ahead; store heavy goods at floor level; secure each load before departure; book goods in on the same day; count critical stock every week; inform customers about delays; combine shipments where possible; keep escape routes free; inspect vehicles before each trip",
    goals="deliver complete and on time; keep stock accurate; use transport space well; shorten loading times; avoid damage in transit; make every shipment traceable",
    items="delivery notes; route plans; stock lists; loading lists; transport orders; packing instructions",
    measures="on-time delivery; stock accuracy; transport costs; loading times; damage rates; the use of storage space",
    risks="traffic delays; wrong labels; damaged goods; stock differences; full storage areas; missing papers",
    tools="a warehouse system; a loading checklist; a route plan; a stock overview; a carrier list",
    who="drivers; warehouse staff; carriers; receiving customers; dispatch planners",
    heads="Goods receipt = process; Storage = operation; Picking and packing = process; Transport planning = timeline; Delivery to the customer = operation; Stock control = measures; Load securing = safety; Returns = process; Carriers and partners = responsibilities; Warehouse safety = safety",
)
area(
    "security", "the security team",
    roles="the security officer; the system administrator; the data protection officer; the incident manager; the access owner; the head of IT",
    acts="grant access only where it is needed; review access rights every quarter; install updates without delay; report suspicious messages at once; encrypt data on mobile devices; keep backups in a separate place; test the recovery regularly; lock the screen when leaving the desk; keep passwords secret; log access to sensitive systems; remove accounts when people leave",
    goals="protect data and systems; keep the business running after an attack; make secure behaviour easy; detect incidents early; limit access to what is needed; meet the duties of data protection",
    items="access lists; security guidelines; backup records; incident reports; awareness materials; recovery plans",
    measures="open vulnerabilities; the time to install updates; reported incidents; the results of recovery tests; expired access rights; participation in awareness training",
    risks="stolen passwords; outdated software; lost devices; phishing messages; excessive access rights; untested backups",
    tools="a password manager; an access register; a backup plan; an incident log; a risk register",
    who="all users; system administrators; external partners with access; managers; visitors",
    heads="Access control = requirements; Passwords and accounts = requirements; Reporting an incident = process; Backups and recovery = maintenance; Protection of data = compliance; Awareness and training = training; Threats and risks = risks; Mobile devices = principles; Security responsibilities = responsibilities; Regular checks = review",
)
area(
    "training", "the training team",
    roles="the trainer; the course lead; the training coordinator; the subject expert; the line manager; the learning partner",
    acts="start with the questions of the participants; mix short theory with practice; use examples from daily work; give feedback after each exercise; check the learning result at the end; offer a refresher after some months; keep groups small; hand out the material before the course; adapt the pace to the group; ask participants for feedback; record attendance",
    goals="build practical skills; give people confidence in their tasks; close gaps in knowledge; support learning at the workplace; make progress visible; help the team to help itself",
    items="course materials; exercises; handouts; practice cases; learning plans; certificates",
    measures="the results of exercises; participant feedback; attendance; the use of new skills at work; the number of trained colleagues; open training needs",
    risks="missing practice hours; mixed knowledge levels; long theory blocks; absent participants; outdated materials; forgotten lessons",
    tools="a training plan; a skills matrix; an online course; a feedback form; a practice room",
    who="participants; new colleagues; experienced staff; trainers; managers",
    heads="Learning goals = goals; Participants = audience; Course content = scope; Methods and exercises = approach; Training schedule = timeline; Materials = resources; Checking the result = measures; Follow-up after the course = next_steps; Preparation = requirements; Practice at work = training",
)
area(
    "general", "the responsible team",
    roles="the project lead; the responsible manager; the coordinator; the team lead; the contact person; the head of department",
    acts="agree on clear responsibilities; work in small steps; keep everyone informed; record decisions in writing; review progress every month; settle open questions early; ask for feedback; keep documents in one place; set realistic dates; learn from earlier work; focus on what matters most",
    goals="reach a good result with reasonable effort; create a common understanding; make the next steps clear; use time and money wisely; support good decisions; improve the daily work",
    items="plans and notes; short reports; decision papers; checklists; working documents; status updates",
    measures="progress against the plan; the effort spent; the feedback of those involved; open points; the quality of results; met deadlines",
    risks="delays; unclear tasks; missing details; changing priorities; resource gaps; misunderstandings",
    tools="a shared task list; a simple plan; a monthly report; a common folder; a short checklist",
    who="all people involved; colleagues; customers and partners; managers; other teams",
    heads="Background = background; Main points = messages; Approach = approach; Decisions = recommendations; Open points = next_steps; Organisation = responsibilities; Important dates = timeline; Costs = budget; Results = findings; Further information = support",
)

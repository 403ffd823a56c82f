"""Vocabulary of the areas, part one.

Every field is a list separated by semicolons:
  roles     singular, with article          acts   verb phrase after "we"
  goals     verb phrase after "to"          items  plural deliverables
  measures  noun phrase, used as an object  risks  plural noun phrase
  tools     noun phrase with article        who    plural groups of people
  heads     area-specific headings, "heading = section kind"
"""

AREAS = {}


def area(name, team, **fields):
    out = {"team": team}
    for key, text in fields.items():
        out[key] = [" ".join(part.split()) for part in text.split(";") if part.strip()]
    out["heads"] = [tuple(x.strip() for x in h.split("=")) for h in out["heads"]]
    AREAS[name] = out


area(
    "marketing", "the marketing team",
    roles="the campaign manager; the brand manager; the content editor; the media planner; the market researcher; the head of marketing",
    acts="test each message with a small group first; plan the campaigns around the needs of the audience; keep the tone of voice consistent; reuse strong material across channels; compare the response to every mailing; brief the agency in writing; publish on fixed days; tell customer stories instead of listing features; agree on the key messages before any design work; check every claim before it is published; shift spending to the channels that work; keep the landing pages short and clear",
    goals="reach the right people with a clear message; raise awareness of the offer; win more qualified enquiries; strengthen the brand; stay visible throughout the season; turn interest into first contacts; explain the value of the offer in plain words",
    items="landing pages and mailings; short videos and customer stories; posts and advertisements; brochures and sales sheets; press texts; event invitations",
    measures="the number of qualified enquiries; the cost of each enquiry; the reach of each channel; the response to mailings; the visits to the landing page; brand awareness; the share of returning visitors",
    risks="unclear messages; late approvals; scattered budgets; crowded channels; off-brand materials; weak response rates",
    tools="a shared campaign calendar; a simple content plan; a brand guide; a weekly channel report; a common image library",
    who="existing customers; potential buyers; partners and resellers; trade journalists; decision makers in small companies",
    heads="Target audience = audience; Key messages = messages; Channels and content = channels; Brand positioning = principles; Campaign timeline = timeline; Media budget = budget; Measuring success = measures; Market situation = background; Creative approach = approach; Launch activities = process",
)
area(
    "sales", "the sales team",
    roles="the sales manager; the account manager; the inside sales assistant; the regional representative; the bid manager; the head of sales",
    acts="qualify every enquiry before the first visit; prepare each meeting with a short customer profile; follow up on every offer; keep the pipeline up to date; agree on the next step at the end of each call; share winning arguments in the team meeting; visit the largest accounts in person; record the reason for every lost order; offer a trial where it makes sense; check discounts before they are promised; listen before presenting",
    goals="win new customers; grow with existing accounts; shorten the time from enquiry to order; make the forecast more reliable; keep margins healthy; raise the hit rate of our offers",
    items="offers and price lists; call guides; reference cases; customer profiles; demonstration materials; account plans",
    measures="the number of new accounts; the value of open offers; the hit rate of offers; the length of the sales cycle; the margin of each order; repeat orders",
    risks="long decision cycles; falling prices; forgotten follow-ups; too few large accounts; unclear responsibilities; optimistic forecasts",
    tools="a shared pipeline view; a customer database; a standard offer template; a weekly forecast; a list of proven arguments",
    who="key accounts; new prospects; purchasing managers; dealers and distributors; long-standing customers",
    heads="Customer needs = audience; Our offer = offer; Pricing and terms = budget; Sales process = process; Target accounts = audience; Pipeline and forecast = measures; Competitive situation = background; Objection handling = approach; Account development = approach; Next steps with the customer = next_steps",
)
area(
    "operations", "the operations team",
    roles="the operations manager; the shift leader; the process owner; the production planner; the site manager; the duty coordinator",
    acts="start each shift with a short briefing; keep work instructions at the workplace; record every interruption; plan capacity one week ahead; remove steps that add no value; hand over open points in writing; check the equipment before the start; balance the workload between the teams; escalate delays on the same day; keep critical parts in stock; review bottlenecks every week",
    goals="keep the daily work running smoothly; reduce waiting times; make every step repeatable; use capacity evenly; lower the number of interruptions; deliver on time",
    items="work instructions; shift plans; handover notes; capacity plans; checklists at the workplace; daily reports",
    measures="throughput times; the number of interruptions; on-time delivery; the use of capacity; rework; the cost of each unit",
    risks="machine failures; staff shortages; missing materials; unclear handovers; overloaded shifts; outdated instructions",
    tools="a daily planning board; a shared shift log; a simple checklist; a visual control board; a maintenance calendar",
    who="shift teams; neighbouring departments; internal customers; external service providers; planners",
    heads="Daily workflow = process; Capacity planning = resources; Handover between shifts = process; Operating hours and cover = timeline; Work instructions = requirements; Handling of interruptions = risks; Performance figures = measures; Continuous improvement = review; Equipment and upkeep = maintenance",
)
area(
    "hr", "the HR team",
    roles="the HR manager; the line manager; the recruiter; the team lead; the mentor; the training coordinator",
    acts="welcome new colleagues with a personal contact; hold a feedback talk after the first weeks; treat all applications confidentially; describe every role in plain words; agree on development goals once a year; answer questions about pay and leave quickly; involve the works council early; document each decision fairly; give every newcomer a mentor; prepare the workplace before the first day; ask leavers for honest feedback",
    goals="find and keep the right people; give new colleagues a good start; make expectations clear; support fair decisions; develop the skills we need; strengthen cooperation across teams",
    items="job profiles; interview guides; onboarding plans; training records; feedback forms; policy summaries",
    measures="the time to fill a position; staff turnover; the result of staff surveys; participation in training; the feedback of new colleagues; absence rates",
    risks="unclear expectations; high workloads; slow hiring decisions; knowledge gaps; unequal conditions; gaps in staffing",
    tools="a personal induction plan; a confidential personnel file; a skills overview; an annual feedback form; a shared interview guide",
    who="new colleagues; managers; applicants; all employees; team leads and mentors",
    heads="Your tasks = tasks; Your profile = profile; What we offer = offer; First week = onboarding; First months = onboarding; Mentoring and support = support; Working hours and leave = requirements; Feedback and development = review; Recruiting and selection = process; Rules of conduct = principles; Equal treatment = principles",
)
area(
    "finance", "the finance team",
    roles="the finance manager; the controller; the accountant; the budget owner; the treasurer; the head of finance",
    acts="check every invoice against the order; compare plan and actual figures each month; approve spending before it is committed; keep all supporting documents; separate approval from payment; report deviations early; update the forecast every quarter; collect overdue payments without delay; explain large differences in writing; close the books on a fixed schedule; hold a reserve for unexpected costs",
    goals="keep costs under control; give managers reliable figures; secure liquidity; make spending transparent; close each month on time; support sound investment decisions",
    items="monthly reports; budget overviews; cost estimates; payment plans; account statements; forecasts",
    measures="the deviation from plan; cash flow; overdue receivables; the return on the investment; cost per department; the operating margin",
    risks="late payments; cost overruns; incomplete records; changing prices; unplanned costs; cash shortages",
    tools="a monthly budget report; a rolling forecast; a cost centre overview; an approval workflow; a simple cash plan",
    who="budget owners; management; banks and investors; auditors; department heads",
    heads="Revenue and costs = budget; Cash flow = budget; Investment needs = resources; Funding = budget; Budget control = review; Financial risks = risks; Approval limits = responsibilities; Reporting and closing = process; Assumptions = background; Key figures = measures",
)
area(
    "legal", "the legal team",
    roles="the legal counsel; the contract manager; the data protection officer; the compliance officer; the responsible manager; the board",
    acts="put every agreement in writing; check the terms before signing; store signed copies centrally; protect personal data; note all deadlines in the contract register; raise doubts before a commitment is made; limit access to confidential papers; use approved templates; record who approved what; inform the other party of changes in good time; settle disagreements in direct talks first",
    goals="protect the interests of both sides; make rights and duties clear; meet all legal duties; avoid disputes; keep agreements easy to understand; handle confidential information safely",
    items="contract templates; approval records; data protection notices; registers of deadlines; written declarations; model clauses",
    measures="open contract risks; the number of overdue deadlines; the time needed for approval; the number of disputes; the results of internal checks",
    risks="missed deadlines; unclear clauses; oral side agreements; data protection breaches; unapproved changes; liability claims",
    tools="a contract register; a clause library; an approval checklist; a secure document store; a calendar of deadlines",
    who="both parties; contract owners; authorities; employees with signing powers; external advisers",
    heads="Definitions = requirements; Rights and duties = responsibilities; Confidentiality = confidentiality; Liability = risks; Data protection = compliance; Term and termination = timeline; Changes to this agreement = review; Settlement of disputes = process; Scope of services = scope; Final provisions = summary",
)
area(
    "technical", "the technical team",
    roles="the technician; the service engineer; the site electrician; the technical lead; the operator; the maintenance planner",
    acts="disconnect the power before opening the housing; follow the steps in the given order; use original spare parts; check all connections by hand; keep the work area clean and dry; note every reading in the log; wear the required protective equipment; test the unit before it is handed over; replace worn parts at once; keep the manual next to the device; call a specialist when in doubt",
    goals="keep the equipment safe and ready for use; install the system correctly the first time; find faults quickly; extend the service life of the parts; avoid downtime; make maintenance predictable",
    items="service logs; wiring diagrams; spare part lists; test records; installation notes; safety labels",
    measures="operating hours between faults; the time needed for repairs; the results of function tests; energy use; the number of service calls",
    risks="loose connections; worn parts; wrong settings; damp or dusty rooms; missing labels; untrained users",
    tools="a standard tool set; a maintenance log; a test plan; a list of spare parts; a fault table",
    who="operators; service staff; trained technicians; users of the device; safety officers",
    heads="Safety instructions = safety; Installation = installation; First start-up = installation; Operation = operation; Maintenance = maintenance; Cleaning and care = maintenance; Troubleshooting = troubleshooting; Technical requirements = requirements; Scope of delivery = scope; Storage and disposal = maintenance; Spare parts = resources",
)
area(
    "engineering", "the engineering team",
    roles="the lead engineer; the release manager; the product owner; the test engineer; the system architect; the on-call engineer",
    acts="review every change before it is merged; keep releases small; write automated tests for critical paths; document interfaces as they change; watch the logs after each deployment; fix the cause and not only the symptom; keep a rollback path ready; measure before optimising; agree on the design before the build starts; track known problems openly; remove code that nobody uses",
    goals="build a reliable system; release small changes often; keep the design simple; shorten the time from idea to release; make faults visible early; keep the system easy to change",
    items="design notes; test reports; release notes; interface descriptions; prototypes; build scripts",
    measures="test coverage; response times; the number of open defects; the time from change to release; failed deployments; the load on the system",
    risks="hidden dependencies; untested changes; unclear requirements; performance bottlenecks; outdated libraries; tight schedules",
    tools="a continuous build; an issue tracker; a staging environment; a monitoring dashboard; a shared design document",
    who="developers; testers; users of the interface; operators; product managers",
    heads="Architecture = approach; Design decisions = approach; Interfaces = requirements; Test strategy = quality; Deployment = installation; Monitoring = measures; Technical risks = risks; Dependencies = requirements; Rollout plan = timeline; Development process = process; Known limits = scope",
)
area(
    "content", "the editorial team",
    roles="the editor; the author; the proofreader; the content manager; the designer; the subject expert",
    acts="plan topics one month ahead; write for one reader at a time; check facts before publication; keep sentences short; use pictures that explain something; update older texts regularly; give each text a clear purpose; have every text read by a second person; answer reader questions openly; keep a list of approved terms; choose headlines that say what follows",
    goals="give readers something useful; keep the language clear; publish at a steady pace; tell one consistent story; make complex topics easy to follow; start a conversation with readers",
    items="articles and interviews; newsletters; short videos; guides and checklists; picture stories; social media posts",
    measures="reading time; the number of subscribers; replies from readers; shared articles; the use of search terms; the number of returning readers",
    risks="late drafts; missing picture rights; unclear messages; outdated facts; too many topics at once; long approval rounds",
    tools="an editorial calendar; a style guide; a topic list; a picture archive; a short approval checklist",
    who="readers; subscribers; subject experts; customers with questions; colleagues from other teams",
    heads="Topics and stories = scope; Editorial calendar = timeline; Style and tone = principles; Formats = channels; Editorial process = process; Our readers = audience; News from the team = messages; Upcoming events = timeline; Distribution = channels; Feedback from readers = review",
)

"""Made-up values for the facts of a prompt."""

ADJ = """new small large simple modern regional annual monthly central digital mobile internal external
common joint shared flexible safe secure reliable sustainable local international remote hybrid public
private professional personal premium basic advanced first next second-hand electric organic smart
automatic seasonal updated revised complete temporary permanent cloud-based customer-friendly""".split()

NOUNS = """mobile app; online shop; coffee machine; electric bike; website; customer portal; loyalty programme;
training course; warehouse; delivery service; help desk; office building; product line; trade fair; summer sale;
price list; data platform; payment system; booking system; hotel; restaurant; bakery; software product; sensor;
heat pump; solar plant; water filter; production line; quality system; safety programme; vacation policy; travel policy;
home office rule; expense process; hiring process; onboarding programme; mentoring programme; staff survey;
supplier portal; purchasing process; spare parts service; maintenance contract; cleaning service; security check;
access system; backup system; password rule; network; call centre; complaint process; newsletter; company blog;
video series; podcast; photo archive; brand design; logo; packaging; market entry; new branch office; merger;
cost programme; budget process; investment plan; pension scheme; bonus scheme; shift model; parking area; car fleet;
truck fleet; charging station; delivery route; packaging machine; forklift; conveyor; laboratory; test bench;
medical device; pharmacy; dental practice; language school; fitness studio; garden centre; furniture shop; bookshop;
insurance product; bank account; credit card; invoice process; tax return; audit; annual report; board meeting;
company event; open day; customer survey; user test; reference project; pilot project; research project; prototype;
machine tool; pump; boiler; lift; printer; laptop; phone system; meeting room; chat tool; search function; dashboard;
data model; interface; server; database; migration; login page; order form; return process; gift card; subscription""".split(";")
NOUNS = [" ".join(n.split()) for n in NOUNS]

PLURALS = """spare parts; new products; returned goods; customer complaints; online orders; business trips; service calls;
apprentices; temporary staff; international customers; small businesses; families; hospitals; schools; visitors;
personal data; dangerous goods; office supplies; raw materials; frozen foods; used machines; green energy; remote work;
data protection; customer care; fire safety; waste reduction; energy saving; flexible working hours; social media;
workplace health; knowledge sharing; night shifts; fair trade; leadership development; cyber security; digital payments;
product quality; stock control; cost control; employee benefits; equal pay; supplier audits; web design; bicycle repair""".split(";")
PLURALS = [" ".join(n.split()) for n in PLURALS]

TAILS = """for small companies; for families; in the city centre; for our customers; in northern Germany; for new employees;
for the whole company; for hospitals; with solar power; for the next season; at all sites; for young people; in Austria;
for schools; for the automotive industry; without paper; for business travellers; in the cloud; for older people;
with local partners; in three languages; for the export market; for the head office; for field staff; on a small budget""".split(";")
TAILS = [" ".join(t.split()) for t in TAILS]

NAMES_A = """North Blue Alpha Green Silver River Delta Nova Terra Vega Prime Urban Bright Clear Oak Stone Lake Sun Wind Fox
Müller Schmidt Weber Keller Moreau Rossi Jansen Olsen Novak Silva Kowalski Hansen Byrne Clarke Patel Tanaka Haddad""".split()
NAMES_B = """Systems Logistics Foods Consulting Software Energy Bikes Trading Works Media Labs Services Partners Design
Machines Solutions Textiles Health Motors Print Travel Security Books Garden Studio""".split()
FORMS = ["GmbH", "Ltd", "AG", "Inc.", "LLC", "KG", "S.A.", "& Co.", "", "", ""]
FIRST = "Anna Ben Clara David Eva Felix Grace Hugo Ines Jonas Katrin Liam Maria Noah Olivia Paul Rosa Samir Tara Yusuf Zoe Peter".split()
CITIES = """Berlin Hamburg Vienna Zurich London Dublin Paris Madrid Lisbon Rome Oslo Prague Warsaw Munich Cologne Leeds Graz
Basel Ghent Turin Boston Toronto Austin Sydney""".split()
MONTHS = """January February March April May June July August September October November December""".split()


def article(phrase):
    return ("an " if phrase[0].lower() in "aeiou" else "a ") + phrase


def subject(r):
    roll = r.random()
    if roll < 0.25:
        out = r.choice(PLURALS)
    else:
        noun = r.choice(NOUNS)
        if r.random() < 0.55:
            noun = r.choice(ADJ) + " " + noun
        out = r.choice([article(noun), article(noun), "the " + noun, "our " + noun, noun, noun])
    if r.random() < 0.3:
        out += " " + r.choice(TAILS)
    if r.random() < 0.06:
        out += " and " + r.choice(PLURALS)
    if r.random() < 0.08:
        out = " ".join(w.capitalize() if r.random() < 0.8 else w for w in out.split())
    return out


def company(r):
    name = r.choice(NAMES_A) + " " + r.choice(NAMES_B)
    return (name + " " + r.choice(FORMS)).strip()


def person(r):
    return r.choice(FIRST) + " " + r.choice(NAMES_A[20:])


def date(r):
    d, m, y = r.randint(1, 28), r.randint(1, 12), r.randint(2023, 2031)
    return r.choice([f"{d} {MONTHS[m-1]} {y}", f"{d} {MONTHS[m-1]} {y}", f"{y}-{m:02}-{d:02}", f"{d}.{m}.{y}", f"{MONTHS[m-1]} {y}"])


def time(r):
    return f"{date(r)} {r.randint(0,23):02}:{r.randint(0,59):02}" + r.choice(["", " UTC"])


def money(r):
    v = r.choice([r.randint(50, 999), r.randint(1000, 99999), r.randint(100000, 999999)])
    s = f"{v:,}" + r.choice(["", ".00", f".{r.randint(0,99):02}"])
    return r.choice([f"{s} EUR", f"EUR {s}", f"€{s}", f"{s} USD", f"${s}", f"{s} euros"])


def number(r):
    return r.choice([str(r.randint(1, 99)), f"{r.randint(100, 9999):,}", f"{r.randint(1,999)}.{r.randint(0,9)}"])


def pick(*options):
    return lambda r: r.choice(options)


VALUES = {
    "subject": subject, "company": company, "customer": company, "partner": company, "supplier": company,
    "seller": company, "buyer": company, "party_a": company, "party_b": company,
    "product": lambda r: r.choice(["the ", "", "our "]) + r.choice(NOUNS),
    "audience": lambda r: r.choice(PLURALS[7:15] + ["young adults", "engineers", "parents", "start-ups", "commuters", "students", "all employees", "managers"]),
    "period": lambda r: r.choice([f"week {r.randint(1,52)}", f"{r.choice(MONTHS)} {r.randint(2024,2029)}", f"the year {r.randint(2025,2030)}", f"Q{r.randint(1,4)} {r.randint(2024,2029)}", f"{date(r)} to {date(r)}"]),
    "budget": money, "fee": money, "payable": money,
    "location": lambda r: r.choice(CITIES), "region": lambda r: r.choice(CITIES + ["southern Europe", "the north", "Scandinavia", "the Alps", "Asia"]),
    "goal": lambda r: r.choice([f"{r.randint(2,90)} percent more orders", "fewer complaints", "a better overview", "zero accidents", "faster delivery", f"{number(r)} new customers", "lower energy use", "one common standard"]),
    "owner": person, "author": person, "reporter": person, "deadline": date, "start_date": date, "end_date": date,
    "issue_date": date, "due_date": date, "detected_at": time, "resolved_at": time,
    "department": pick("Sales", "the IT department", "Human Resources", "Production", "Finance", "Customer Care", "Purchasing", "R&D"),
    "channel": pick("email", "the website", "social media", "trade fairs", "the newsletter", "phone", "LinkedIn", "the app"),
    "team": lambda r: r.choice(["the project team", "Team Blue", "the night shift", "the service team", "our designers", "four engineers"]),
    "site": lambda r: r.choice(["the plant in ", "the warehouse in ", "our office in ", "Building 4, "]) + r.choice(CITIES),
    "system": pick("SAP", "the ERP system", "the ticket system", "our CRM", "the intranet", "Linux", "the web shop"),
    "standard": pick("ISO 9001", "ISO 27001", "GDPR", "DIN EN 1090", "the company standard", "HACCP", "IEC 61508"),
    "invoice_number": lambda r: r.choice(["INV-", "RE-", "", "2026-"]) + str(r.randint(100, 99999)),
    "reference": lambda r: r.choice(["PO-", "REF ", "K-", ""]) + str(r.randint(100, 999999)),
    "iban": lambda r: r.choice(["DE", "AT", "FR", "NL"]) + "".join((" " if i % 4 == 2 else "") + str(r.randint(0, 9)) for i in range(20)),
    "governing_law": pick("German law", "Austrian law", "the laws of England", "Swiss law", "the laws of Ireland", "French law"),
    "notice_period": pick("30 days", "three months", "4 weeks", "two weeks", "90 days", "6 months"),
    "repository": lambda r: r.choice(["acme/", "bul/", "core/", "", "team/"]) + r.choice(["shop", "api", "web", "portal", "engine", "billing-service", "docs"]),
    "version": lambda r: r.choice(["v", "", ""]) + f"{r.randint(0,12)}.{r.randint(0,30)}.{r.randint(0,20)}" + r.choice(["", "", "-rc1"]),
    "change_count": lambda r: str(r.randint(1, 80)),
    "change": lambda r: r.choice(["Fix", "Add", "Update", "Remove", "Improve"]) + " " + r.choice(NOUNS),
    "branch": lambda r: r.choice(["main", "develop", "release/2.1", "feature/login", "fix/timeout", f"issue-{r.randint(1,999)}"]),
    "state": pick("success", "failed", "merged", "open", "closed", "published", "passed", "created"),
    "check": pick("unit tests", "lint", "integration", "ci/build", "end-to-end", "security scan"),
    "incident": lambda r: r.choice([f"INC-{r.randint(10,9999)}", "Login errors", "Slow checkout", "Payment outage", f"#{r.randint(1,999)}", "High error rate"]),
    "service": pick("checkout", "the payment service", "api-gateway", "login", "the web shop", "search", "billing"),
    "environment": pick("production", "staging", "prod-eu", "the test environment"),
    "duration": lambda r: r.choice([f"{r.randint(2,59)} minutes", f"{r.randint(1,9)} h {r.randint(1,59)} min", f"{r.randint(1,9)} hours"]),
    "status": pick("open", "resolved", "investigating", "rolled back", "monitoring", "reported"),
    "ticket": lambda r: r.choice(["OPS-", "BUG-", "#", "TICKET-"]) + str(r.randint(1, 9999)),
    "metric": pick("orders", "revenue", "visits", "sign-ups", "support tickets", "units sold", "page views", "downtime minutes", "open invoices"),
    "total": number, "previous_total": number, "top_value": number, "low_value": number, "row_count": number,
    "previous_period": lambda r: r.choice([f"week {r.randint(1,52)}", f"{date(r)} to {date(r)}", f"{r.choice(MONTHS)} {r.randint(2024,2029)}"]),
    "change_percent": lambda r: f"{r.choice(['', '+', '-'])}{r.randint(0,60)}.{r.randint(0,9)} %",
    "top_group": lambda r: r.choice(CITIES + ["North", "South", "Online", "Retail", "Team A"]),
    "low_group": lambda r: r.choice(CITIES + ["East", "West", "Phone", "Partners", "Team C"]),
}


BACKGROUND = [
    lambda r: f"{person(r)} asked for this on {date(r)}.",
    lambda r: f"The last version is from {date(r)} and was written by {person(r)}.",
    lambda r: f"{r.choice(PLURALS).capitalize()} are handled by {company(r)} today.",
    lambda r: f"In {r.choice(MONTHS)} we counted {number(r)} cases.",
    lambda r: f"It is about {r.choice(PLURALS)} and {article(r.choice(NOUNS))}.",
    lambda r: f"Readers are {r.choice(['managers', 'new employees', 'customers', 'engineers', 'the board', 'suppliers'])}.",
    lambda r: f"Please mention {article(r.choice(ADJ) + ' ' + r.choice(NOUNS))}.",
    lambda r: f"{r.choice(CITIES)} and {r.choice(CITIES)} come first, the other sites follow.",
    lambda r: f"Up to {money(r)} can be spent.",
    lambda r: f"The board decided on {date(r)} to go on with {article(r.choice(NOUNS))}.",
    lambda r: f"Our partner {company(r)} takes part from {r.choice(MONTHS)} on.",
    lambda r: "Keep it short and clear.",
    lambda r: f"There were {r.randint(2, 60)} questions about {r.choice(PLURALS)}.",
]


def background(r):
    """What a person writes beside a request. Answers never take anything from it."""
    return " ".join(make(r) for make in r.sample(BACKGROUND, r.choice([1, 1, 2, 3, 4])))


def value(name, r, context=None):
    if context == "weekly" and name == "change":
        return number(r)
    if name in VALUES:
        return VALUES[name](r)
    return r.choice([date, money, number, person, company, subject])(r)

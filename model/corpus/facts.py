"""Sentence frames for the facts of free documents, and for the aims."""


def lines(text):
    return [" ".join(line.split()) for line in text.strip().splitlines() if line.strip()]


FACTS = {
    "company": """
        At [company], {team} (takes|has taken) the lead.
        For [company], this is an important step.
        [company] can build on the experience of {team}.
        The work is carried out under the direction of [company].
        This matters to [company] because it helps to {goal}.
        [company] wants to {goal}.
        Inside [company], {role} is the first contact.
        """,
    "customer": """
        The needs of [customer] (are at the centre of|guide) the work.
        Together with [customer], we agree on each step in advance.
        [customer] receives a clear overview and a personal contact.
        We want [customer] to see the benefit from the first day.
        For [customer], reliable answers and clear agreements are essential.
        {Role} keeps [customer] informed about progress.
        """,
    "product": """
        The focus is on [product] and its benefits in daily use.
        With [product], we have a good basis for this work.
        Experience with [product] has been taken into account.
        For [product], separate {item} are prepared.
        {Role} explains how [product] can be used to best effect.
        We want more people to know and use [product].
        """,
    "audience": """
        We speak above all to [audience].
        For [audience], the benefit must be clear at first sight.
        The needs of [audience] decide how we set priorities.
        All {item} are written with [audience] in mind.
        To reach [audience], we {act}.
        Feedback from [audience] helps us to improve.
        """,
    "period": """
        The plan covers the period [period].
        All figures and tasks refer to [period].
        The work is planned for [period].
        For [period], the priorities have been agreed with {role}.
        The period under consideration is [period].
        """,
    "budget": """
        The budget (amounts to|is) [budget].
        A budget of [budget] has been set aside for this purpose.
        With a budget of [budget], the planned work can be carried out.
        {Role} makes sure that spending stays within [budget].
        The available amount of [budget] is divided between the planned steps.
        Spending is limited to [budget].
        """,
    "location": """
        The work takes place in [location].
        For [location], local conditions have been taken into account.
        In [location], {role} is the person to contact.
        The location for this work is [location].
        {who|cap} in [location] will be informed in good time.
        """,
    "goal": """
        The agreed goal is [goal].
        Everything we do serves one aim, namely [goal].
        The common goal is clear and reads [goal].
        All steps are measured against the goal, which is [goal].
        To reach the goal of [goal], we {act}.
        """,
    "owner": """
        [owner] is responsible for the result.
        Overall responsibility lies with [owner].
        [owner] coordinates the work and reports on progress.
        Questions should be addressed to [owner].
        The owner of this task is [owner].
        """,
    "deadline": """
        The work must be finished by [deadline].
        The deadline is [deadline].
        All results are due by [deadline].
        To meet the deadline of [deadline], we {act}.
        Until [deadline], progress is checked at short intervals.
        """,
    "department": """
        The department in charge is [department].
        The people and the knowledge for this work come from [department].
        Within [department], the tasks are divided clearly.
        Colleagues in [department] are involved from the beginning.
        The work is coordinated by [department].
        """,
    "partner": """
        We work closely with [partner].
        [partner] supports the work with knowledge and contacts.
        The cooperation with [partner] is based on clear agreements.
        Together with [partner], we {act}.
        Our partner in this work is [partner].
        """,
    "channel": """
        The main channel is [channel].
        We use [channel] to reach {who}.
        Through [channel], information arrives quickly and directly.
        The results from [channel] are compared with earlier figures.
        Content for [channel] is prepared in advance.
        """,
    "team": """
        The work is carried out by [team].
        The daily tasks are in the hands of [team].
        For [team], the responsibilities have been agreed in writing.
        Regular short meetings keep [team] on the same level of knowledge.
        We rely on the experience of [team].
        """,
    "region": """
        The plan applies to [region].
        In [region], we {act}.
        The region concerned is [region].
        Conditions in [region] have been considered in the planning.
        {who|cap} in [region] are addressed directly.
        """,
    "supplier": """
        The supplier for this work is [supplier].
        [supplier] delivers according to the agreed terms.
        With [supplier], quality and delivery have been agreed in writing.
        {Role} keeps in regular contact with [supplier].
        Goods and services are provided by [supplier].
        """,
    "start_date": """
        The work begins on [start_date].
        The start is planned for [start_date].
        From [start_date], the new arrangement applies.
        By [start_date], all preparations must be complete.
        """,
    "end_date": """
        The work ends on [end_date].
        The end is planned for [end_date].
        By [end_date], all results must be handed over.
        The arrangement remains in place until [end_date].
        """,
    "site": """
        The work is carried out at [site].
        At [site], {role} is in charge of the daily work.
        The conditions at [site] were checked in advance.
        All people at [site] are informed before the work begins.
        """,
    "system": """
        The work is based on [system].
        In [system], all relevant data is kept up to date.
        Access to [system] is granted by {role}.
        The settings of [system] are checked before the start.
        We use [system] to record each step.
        """,
    "standard": """
        The work follows [standard].
        All results must meet the requirements of [standard].
        Checks are based on [standard].
        {Role} makes sure that [standard] is followed.
        The applicable standard is [standard].
        """,
}
FACTS = {name: lines(text) for name, text in FACTS.items()}

PAIRS = {
    ("start_date", "end_date"): lines("""
        The work runs from [start_date] to [end_date].
        Between [start_date] and [end_date], the tasks are carried out step by step.
        The start is planned for [start_date] and the end for [end_date].
        """),
    ("budget", "deadline"): lines("""
        A budget of [budget] is available, and the results are due by [deadline].
        The work must be finished by [deadline] and may cost no more than [budget].
        """),
    ("company", "customer"): lines("""
        [company] and [customer] agree on each step together.
        [company] works closely with [customer].
        """),
    ("owner", "deadline"): lines("""
        [owner] is responsible for the result, which is due by [deadline].
        [owner] makes sure that everything is ready by [deadline].
        """),
    ("company", "audience"): lines("""
        With this work, [company] turns to [audience].
        [company] wants to reach [audience].
        """),
    ("product", "audience"): lines("""
        With [product], we want to reach [audience].
        For [audience], the benefits of [product] must be clear at first sight.
        """),
    ("region", "period"): lines("""
        The plan applies to [region] and covers the period [period].
        """),
    ("team", "location"): lines("""
        The work is carried out by [team] in [location].
        """),
    ("department", "owner"): lines("""
        Within [department], [owner] is responsible for the result.
        """),
    ("company", "location"): lines("""
        [company] carries out the work in [location].
        For [company], the work takes place in [location].
        """),
    ("goal", "owner"): lines("""
        The agreed goal is [goal], and [owner] is responsible for it.
        """),
    ("supplier", "budget"): lines("""
        [supplier] provides the goods and services within a budget of [budget].
        """),
}

# For fact names the grammar does not know.  # stands for the name.
UNKNOWN = lines("""
    For the record, (the details include|we also note) #.
    The agreed details include #.
    Please also note #, which has been confirmed.
    (One|Another) point to keep in mind is #.
    The plan takes # into account.
    In all further steps, # has to be considered.
    The documents refer to #.
    This also concerns #.
    The relevant entry reads #.
    As agreed, # applies here.
    """)

UNKNOWN_WORDS = """
    order vehicle material colour model serial contract account room building floor address
    phone email price unit quantity weight size version branch machine line batch lot
    project phase step task ticket case file report source target limit rate level type
    class group category topic course trainer date day week month hour time place city
    country language currency discount tax total count average maximum minimum reason
    contact manager sponsor reviewer author editor inspector driver carrier warehouse route
    shipment pallet package label code number name title status priority result score
    """.split()

# Aims of free documents: (aim texts, sentences that answer the aim).
AIMS = [
    (["convince the reader", "persuade management", "win support", "convince the customer", "gain approval"],
     lines("""
        The benefits clearly outweigh the effort.
        A decision in favour would pay off for {who}.
        We are convinced that this is the right way forward.
        There are good reasons to act now rather than later.
        """)),
    (["inform the team", "inform employees", "give an overview", "inform customers", "explain the basics"],
     lines("""
        This section gives a short overview of the most important facts.
        All those involved should know these points before the work begins.
        The details are explained in plain words so that everyone can follow.
        Further information is available from {role}.
        """)),
    (["give clear instructions", "guide the reader", "help beginners", "explain how to proceed"],
     lines("""
        Please follow the steps in the given order.
        If anything is unclear, please ask {role} before you continue.
        Take enough time for each step and check the result.
        These instructions are also suitable for people without experience.
        """)),
    (["prepare a decision", "support a decision", "ask for a decision", "compare the options"],
     lines("""
        On this basis, management can make a sound decision.
        The decision should take cost, benefit and risk into account.
        We ask for a decision so that the next steps can begin.
        The facts have been checked and are ready for a decision.
        """)),
    (["build trust", "reassure the customer", "reduce concerns", "calm worries"],
     lines("""
        We take all concerns seriously and answer questions openly.
        Nothing will be changed without clear information in advance.
        You can rely on our agreements.
        If problems occur, we will deal with them quickly and fairly.
        """)),
    (["report progress", "show results", "describe the current status"],
     lines("""
        The work is moving forward as agreed.
        The first results are encouraging.
        Most of the preparations have been completed.
        Open points are known and are being dealt with.
        """)),
    (["motivate the team", "thank the team", "motivate the reader"],
     lines("""
        Every contribution counts, no matter how small.
        We are grateful to everyone who supports this work.
        Together, we can reach more than each of us alone.
        The effort of {team} deserves our thanks.
        """)),
]

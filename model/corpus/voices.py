"""Sentences that belong to one area; they may stand in any free section of that area."""

from facts import lines

VOICES = {
    "marketing": """
        A strong message about [subject] answers one question that {who} really ask.
        Our brand should be recognised at first sight, whatever the channel.
        A good headline says what people gain and not what we sell.
        Attention is short, so the first sentence has to carry the message.
        Every campaign ends with a look at {measure}.
        """,
    "sales": """
        In talks about [subject], we ask first and present later.
        A customer buys when the benefit is clear and the next step is easy.
        Every promise made in a sales talk has to be kept after the order.
        Lost orders teach us as much as the ones we win.
        The best argument is a satisfied customer.
        """,
    "operations": """
        A stable routine leaves more time for {who} and for [subject].
        What happens every day should be easy to do right.
        Interruptions are discussed where they occur and solved on the same day.
        Good planning can be recognised by calm shifts.
        The people who do the work know best where time is lost.
        """,
    "hr": """
        People should feel from the first day that they are welcome.
        Fair treatment and open words are the basis of our cooperation.
        Where [subject] affects working conditions, employees are informed first.
        Trust grows when managers listen and keep their word.
        Personal information is shared only with those who need it.
        """,
    "finance": """
        Every figure for [subject] can be traced back to a document.
        Spending is approved by one person and checked by another.
        Early figures are better than perfect figures that come too late.
        A plan is useful only if it is compared with reality.
        Cash is watched as closely as profit.
        """,
    "legal": """
        Clear wording prevents most disputes before they begin.
        Agreements on [subject] are valid only in writing.
        If a term can be understood in two ways, it should be written again.
        Rights and duties must be balanced between the parties.
        Legal advice is sought before a risk is taken and not afterwards.
        """,
    "technical": """
        All work on [subject] must be carried out by qualified people.
        The best repair is the one that is never needed.
        A clean workplace makes faults visible.
        Settings that work should be written down at once.
        When in doubt, the safe option is the right one.
        """,
    "engineering": """
        A simple design for [subject] is easier to test and to change.
        Code that is hard to read is hard to trust.
        Small changes are reviewed faster and fail less often.
        Each interface should do one thing and do it well.
        What is not monitored will fail without notice.
        """,
    "content": """
        A good text about [subject] begins with a question that readers really have.
        Readers decide within a few lines whether they stay.
        One clear thought for each paragraph is enough.
        A text is finished when nothing can be left out.
        Pictures should explain and not only decorate.
        """,
    "strategy": """
        A strategy for [subject] also says what we will not do.
        Few priorities, pursued with patience, achieve more than many projects.
        Our strengths are the best starting point for growth.
        Direction matters more than speed.
        Good strategy shows in the decisions of every day.
        """,
    "customer service": """
        Every contact about [subject] is a chance to win trust.
        A quick and honest answer is worth more than a perfect one that comes late.
        Behind every complaint stands a person who wants to be heard.
        Customers should never have to explain their problem twice.
        A friendly voice makes a difficult situation easier.
        """,
    "quality": """
        Quality in [subject] begins with clear requirements.
        A defect that is found early costs little.
        Facts and records count more than opinions.
        Every deviation is a chance to improve the process.
        Customers notice quality most when it is missing.
        """,
    "analytics": """
        Figures about [subject] need context before they lead to decisions.
        A single value says little without a comparison.
        Good data is complete, current and clearly defined.
        A chart should answer one question at a time.
        Correlation alone does not explain a cause.
        """,
    "procurement": """
        For [subject], the lowest price is not always the best offer.
        Reliable suppliers are partners and not only sources.
        A clear specification saves long discussions later.
        Fair treatment of suppliers pays off in difficult times.
        Every order should be traceable from the request to the invoice.
        """,
    "logistics": """
        The right goods in the right place save time for everyone.
        For [subject], short routes and clear labels make the difference.
        A tidy warehouse is a safe warehouse.
        Delays are easier to accept when they are announced early.
        Good loading begins with good planning.
        """,
    "security": """
        Security for [subject] works only if everyone takes part.
        A rule that is easy to follow is the best protection.
        Suspicious events should be reported even if they turn out to be harmless.
        Access that is no longer needed is removed at once.
        A backup is only worth something if it can be restored.
        """,
    "training": """
        People learn [subject] best by trying things out for themselves.
        Mistakes made in an exercise are useful ones.
        Short units with breaks work better than long lectures.
        What has been learned should be used within a few days.
        Good questions are a sign of good learning.
        """,
    "general": """
        Clear agreements make the work on [subject] easier for everyone.
        Good preparation saves time later.
        Short paths and open words help to solve problems early.
        What has been agreed should also be written down.
        Small improvements are welcome at any time.
        """,
}
VOICES = {area: lines(text) for area, text in VOICES.items()}

"""Grammar of the weekly report: the aim decides between rose, fell, unchanged, first week."""

from facts import lines

WEEKLY_FACTS = ("period previous_period metric total previous_total change change_percent "
                "top_group top_value low_group low_value row_count").split()

WEEKLY_AIMS = {"increase": "up", "decrease": "down", "no change": "flat", "first week": "first"}

OPEN = {
    "up": lines("""
        In [period], [metric] rose from [previous_total] to [total].
        In [period], [metric] increased by [change_percent] to [total].
        Compared with [previous_period], [metric] rose by [change] to [total].
        With a total of [total], [metric] was higher than in [previous_period].
        In [period], [metric] reached [total] and was higher than the week before.
        The week [period] brought an increase in [metric].
        The figures show an increase compared with the previous week.
        """),
    "down": lines("""
        In [period], [metric] fell from [previous_total] to [total].
        In [period], [metric] decreased by [change_percent] to [total].
        Compared with [previous_period], [metric] fell by [change] to [total].
        With a total of [total], [metric] was lower than in [previous_period].
        In [period], [metric] came to [total] and was lower than the week before.
        The week [period] brought a decrease in [metric].
        The figures show a decrease compared with the previous week.
        """),
    "flat": lines("""
        In [period], [metric] remained unchanged at [total].
        In [period], [metric] stood at [total], the same as in [previous_period].
        Compared with [previous_period], [metric] did not change.
        With a total of [total], [metric] stayed at the level of the previous week.
        The week [period] brought no change in [metric].
        The figures show no change compared with the previous week.
        """),
    "first": lines("""
        In [period], [metric] came to [total].
        For [period], the first recorded total for [metric] is [total].
        The first report covers [period] and shows a total of [total].
        With [period], the weekly recording of [metric] begins.
        This is the first report on [metric], so there is no earlier week for comparison.
        This is the first weekly report, so there is no earlier week for comparison.
        """),
}
FACT = {
    "up": lines("""
        The increase amounts to [change].
        This is an increase of [change_percent].
        The difference from [previous_period] is [change], or [change_percent].
        In [previous_period], the total was [previous_total].
        """),
    "down": lines("""
        The decrease amounts to [change].
        This is a decrease of [change_percent].
        The difference from [previous_period] is [change], or [change_percent].
        In [previous_period], the total was [previous_total].
        """),
    "flat": lines("""
        In [previous_period], the total was also [previous_total].
        The total for the previous week was [previous_total].
        The recorded difference is [change].
        """),
    "first": [],
    "*": lines("""
        The total for [metric] is [total].
        The highest value was recorded by [top_group] with [top_value].
        The largest share came from [top_group] with [top_value].
        The strongest group was [top_group].
        The lowest value was recorded by [low_group] with [low_value].
        At the lower end is [low_group] with [low_value].
        The weakest group was [low_group].
        While [top_group] reached [top_value], [low_group] came to [low_value].
        The report is based on [row_count] records.
        For this report, [row_count] rows of data were evaluated.
        The figures refer to [period].
        """),
}
BREAKDOWN_OPEN = lines("""
    The breakdown shows clear differences between the groups.
    The highest value for [metric] was recorded by [top_group] with [top_value].
    In [period], [top_group] was at the top with [top_value].
    Looking at the groups, [top_group] leads with [top_value].
    The total of [total] is divided between several groups.
    The total of [total] is spread unevenly across the groups.
    Among the groups, [top_group] recorded the highest value for [metric].
    The strongest group in [period] was [top_group].
    """)
MID = {
    "Summary": {
        "up": lines("""
            The development is positive compared with the week before.
            The increase should be watched over the coming weeks before conclusions are drawn.
            Several groups may have contributed to the increase.
            """),
        "down": lines("""
            The reasons for the decrease should be examined.
            A single week does not yet make a trend, but the decrease deserves attention.
            The decrease should be watched over the coming weeks.
            """),
        "flat": lines("""
            The level is stable compared with the week before.
            A stable total can hide changes between the groups.
            There is no sign of a trend in either direction.
            """),
        "first": lines("""
            These figures form the basis for later comparisons.
            Statements about a trend are not yet possible.
            A comparison will be possible from the next report on.
            """),
        "*": lines("""
            The data was checked before the report was prepared.
            The breakdown by group follows in the next section.
            """),
    },
    "Breakdown": {
        "up": lines("""
            The increase in the total does not mean that every group has grown.
            A look at the groups helps to understand the increase.
            """),
        "down": lines("""
            The decrease in the total does not mean that every group has declined.
            A look at the groups helps to understand the decrease.
            """),
        "flat": lines("""
            Although the total is unchanged, the groups differ from each other.
            The unchanged total should not hide the differences between the groups.
            """),
        "first": lines("""
            A comparison with earlier weeks is not yet possible.
            The distribution will serve as a reference for later weeks.
            """),
        "*": lines("""
            The distance between the strongest and the weakest group is worth a closer look.
            The other groups lie between these two values.
            Differences between groups can have several causes.
            Groups with low values should be examined more closely.
            The full list of groups is shown in the table.
            """),
    },
    "Outlook": {
        "up": lines("""
            If the increase continues, the targets should be reviewed.
            The coming weeks will show whether the increase is lasting.
            It makes sense to learn from the groups with the best results.
            """),
        "down": lines("""
            If the decrease continues, measures should be discussed.
            The coming weeks will show whether the decrease is only temporary.
            The causes of the decrease should be examined first.
            """),
        "flat": lines("""
            If the total remains unchanged, no special measures are necessary.
            The coming weeks will show whether the level remains stable.
            A stable level is a good basis for planning.
            """),
        "first": lines("""
            The next report will allow a first comparison.
            After some weeks, a trend will become visible.
            Until then, conclusions should be drawn with care.
            """),
        "*": lines("""
            Special attention should be given to [low_group].
            The development of [top_group] should be watched closely.
            We suggest looking at [low_group] in more detail.
            The same figures will be collected in the coming week.
            Groups with unusual values should be contacted directly.
            """),
    },
}
OUTLOOK_OPEN = {
    "up": lines("""
        After the increase in [period], the coming week deserves attention.
        The increase in [metric] gives reason for confidence.
        After this increase, it will be important to keep the level.
        """),
    "down": lines("""
        After the decrease in [period], the coming week deserves attention.
        The decrease in [metric] should be examined in the coming week.
        After this decrease, it will be important to find the causes.
        """),
    "flat": lines("""
        After an unchanged result in [period], no large changes are expected.
        The stable level of [metric] is a good basis for the coming week.
        With an unchanged total, the coming week can be planned as usual.
        """),
    "first": lines("""
        After the first report for [period], more data will be collected.
        For [metric], the coming weeks will provide a basis for comparison.
        With this first report, regular observation begins.
        """),
}
CLOSE = {
    "Summary": lines("""
        The details are shown in the table.
        The next report will show how the figures develop.
        Further details can be found in the breakdown.
        """),
    "Breakdown": lines("""
        The table shows the values of all groups.
        The next report will show whether the picture changes.
        These differences should be discussed with the groups concerned.
        """),
    "Outlook": lines("""
        The next report will show how the figures develop.
        The results should be discussed in the next meeting.
        We will continue to watch the figures closely.
        """),
}

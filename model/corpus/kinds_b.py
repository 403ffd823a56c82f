"""Sentence frames by section kind, part two."""

from kinds_a import KINDS, kind  # noqa: F401

kind("training",
     "Training; Training and support; Learning and development; Preparing the team; Skills and training; Practice; Instruction of staff",
     """
     Everyone who works with [subject] receives suitable training.
     Good preparation of the people involved is decisive for [subject].
     Training for [subject] combines short explanations with practice.
     Before the start with [subject], {who} are trained.
     The skills needed for [subject] can be learned in small steps.
     """,
     """
     The training uses examples from the daily work of {who}.
     {Role} prepares the material and leads the first sessions.
     New colleagues receive the same training during their first weeks.
     Short guides help to refresh the content later on.
     After the training, participants try out what they have learned.
     Questions are collected and answered for everyone.
     Experienced colleagues support those who are less sure.
     Attendance is recorded, and missed sessions are repeated.
     A refresher takes place when the rules or the tools change.
     Participants also learn how to {act}.
     """,
     """
     The result is checked by a short practical exercise.
     In this way, knowledge stays in the team even when people change.
     Feedback from participants is used to improve the next session.
     """)

kind("compliance",
     "Compliance; Legal requirements; Rules and standards; Data protection; Documentation; Records; Legal framework; Documents and records",
     """
     All work on [subject] follows the applicable laws and our internal rules.
     For [subject], certain rules and duties have to be observed.
     Complete records are required for everything that concerns [subject].
     Personal data connected with [subject] is handled with special care.
     Legal and internal requirements for [subject] are checked before the start.
     """,
     """
     {Role} makes sure that the rules are known and followed.
     Records are kept in one place and protected against changes.
     Access is given only to people who need the information for their work.
     Personal data is used only for the agreed purpose.
     Documents are kept for as long as the law requires.
     If a rule is unclear, {role} is asked before the work continues.
     Breaches of the rules are reported and followed up.
     Outside partners are bound to the same rules in writing.
     Regular checks show whether practice and rules agree.
     Decisions are recorded together with the reasons for them.
     """,
     """
     These rules protect both the company and {who}.
     Changes in the law are followed, and the rules are adapted in good time.
     In case of doubt, the stricter rule applies.
     """)

kind("review",
     "Review; Review and improvement; Continuous improvement; Evaluation; Checks and reviews; Regular review; Follow-up; Lessons learned; Quality control; Changes and updates",
     """
     The results of [subject] are reviewed at regular intervals.
     After the start with [subject], we check regularly whether the result meets the need.
     A regular review keeps [subject] up to date.
     We want to learn from our experience with [subject].
     For [subject], we combine regular checks with open feedback.
     """,
     """
     {Role} prepares the review and invites the people involved.
     We compare the results with the goals that were agreed at the start.
     The review looks at {measure} and at the feedback of {who}.
     What worked well is kept, and what did not work is changed.
     Suggestions can be made by everyone at any time.
     Each improvement has an owner and a date.
     Small changes are made at once, while larger ones need a decision.
     The causes of {risk} receive special attention.
     Results are summed up in a short note for {who}.
     Older versions are kept so that changes can be traced.
     """,
     """
     In this way, the work improves step by step.
     The next review builds on the results of the last one.
     A review without consequences would be of little use, so every finding leads to a decision.
     """)

kind("support",
     "Support; Help and contact; Contact; Questions and contact; Further information; Where to get help; Advice and support; Contact persons",
     """
     Anyone who has questions about [subject] can turn to {role}.
     Support is available to everyone who works with [subject].
     For questions about [subject], there is one central contact.
     Nobody has to deal with [subject] alone.
     Further information on [subject] is available from {team}.
     """,
     """
     Simple questions are answered on the same day.
     {Role} passes difficult questions to the right specialist.
     Frequent questions and answers are collected in {tool}.
     Please describe the problem in a few words and say how urgent it is.
     A short message is enough to start the process.
     If the contact is absent, a deputy takes over.
     Helpful material includes {item}.
     Feedback on the support is always welcome.
     We would rather answer one question too many than correct a mistake later.
     For urgent matters, please call instead of writing.
     """,
     """
     We will gladly help and keep you informed until the question is settled.
     Good support makes daily work easier for everyone.
     Please do not hesitate to get in touch.
     """)

kind("tools",
     "Tools; Tools and systems; Aids and templates; Systems used; Tools and materials; Working tools; Templates",
     """
     For the work on [subject], a few simple tools are enough.
     The tools used for [subject] are available to all people involved.
     The right tools make the work on [subject] much easier.
     We use proven tools for [subject] and avoid special solutions.
     """,
     """
     The most important aid is {tool}.
     In addition, {team} uses {tool}.
     All tools are kept up to date by {role}.
     Templates save time and make results comparable.
     New tools are tested by a small group before they are introduced.
     Access is granted by {role} on request.
     A short guide explains the main functions.
     Data is entered only once and then used in several places.
     Tools that nobody uses are removed.
     """,
     """
     A tool is only helpful if everyone uses it in the same way.
     Problems with the tools should be reported to {role}.
     The choice of tools is reviewed once the work has been running for a while.
     """)

kind("requirements",
     "Requirements; What is needed; Conditions; Basic requirements; Rules; Standards; Prerequisites; Specifications; What we expect; Minimum requirements",
     """
     Certain requirements must be met before work on [subject] can begin.
     The requirements for [subject] are based on the needs of {who}.
     For [subject], the following rules apply.
     Clear requirements are the basis for good results with [subject].
     Everyone involved in [subject] should know the basic rules.
     """,
     """
     All {item} must be complete and approved.
     It is required to {act}.
     {Role} confirms that the requirements are met.
     Requirements are written so that they can be checked.
     Enough time and suitable staff must be available.
     Solutions should be simple, safe and easy to maintain.
     Exceptions need the written approval of {role}.
     Requirements that conflict with each other are settled before the start.
     The needs of {who} take priority over technical wishes.
     Where standards exist, they are followed.
     {Tool} must be in place and known to the team.
     """,
     """
     If a requirement cannot be met, the start is postponed.
     The list of requirements is kept short on purpose.
     Meeting these conditions saves time and prevents later corrections.
     """)

kind("quality",
     "Quality; Quality assurance; Quality standards; Checks; Testing and acceptance; Acceptance; Quality requirements; Tests",
     """
     For [subject], quality is checked from the beginning and not only at the end.
     High quality is a basic requirement for [subject].
     The results of the work on [subject] are checked against clear criteria.
     Quality in [subject] means that {who} can rely on the result.
     """,
     """
     {Role} defines the criteria together with {who}.
     Checks are carried out at fixed points and recorded.
     We pay special attention to {risk}.
     Faults are corrected where they arise.
     A second person checks all important results.
     The figures for {measure} show whether the standard is kept.
     Results are released only after a successful check.
     To keep the standard high, we {act}.
     Complaints are treated as a chance to improve.
     """,
     """
     Acceptance is confirmed in writing by {role}.
     In this way, errors are found early and at low cost.
     Good quality is the result of many small and careful steps.
     """)

kind("resources",
     "Resources; Staff and resources; People and materials; What we need; Team and resources; Means and materials; Resource planning; Data and materials",
     """
     The work on [subject] needs time, people and suitable materials.
     For [subject], we rely mainly on the resources we already have.
     The necessary resources for [subject] have been planned carefully.
     Enough time must be set aside for [subject].
     """,
     """
     {Team} provides the people for the daily work.
     Outside help is used only where our own knowledge is not enough.
     The required {item} are prepared before the start.
     {Role} checks every month whether the resources are sufficient.
     Busy periods have been considered in the planning.
     Important tasks are shared by at least two people.
     Missing resources are reported early so that priorities can be changed.
     With {tool}, available capacity can be seen at any time.
     People who take on new tasks are relieved of other duties.
     """,
     """
     Careful use of resources leaves room for unexpected tasks.
     With these resources, the planned work can be done well.
     Additional needs are discussed with {role} before any promise is made.
     """)

kind("next_steps",
     "Next steps; What happens next; Action plan; To do; Measures and next steps; Outlook and next steps; Actions; Decision and next steps; The way forward",
     """
     The next steps for [subject] have been agreed.
     To move forward with [subject], we now need a few clear decisions.
     Work on [subject] continues with a small number of concrete steps.
     With the plan in place, the preparation of [subject] can begin.
     The following steps will bring [subject] closer to its goal.
     """,
     """
     First, {role} confirms the plan and the responsibilities.
     The next task is to {act}.
     After that, {team} prepares the {item}.
     {Role} informs {who} about the decision.
     Open questions are collected and answered in the next meeting.
     A first result will be shown to a small group of {who}.
     Each step has a responsible person and a date.
     We start by {ing}.
     At the same time, we {act}.
     Progress is reported in a short note.
     If nothing stands in the way, the full start follows soon afterwards.
     """,
     """
     After these steps, we will decide together how to continue.
     We ask everyone to check their tasks and to report problems early.
     The sooner these steps begin, the sooner the benefits will be felt.
     """)

kind("benefits",
     "Benefits; Advantages; What you gain; Our strengths; Expected benefits; Why it pays off; Value for the customer; Added value",
     """
     The benefits of [subject] can be seen in daily work.
     For {who}, the greatest value of [subject] is that it helps them to {goal}.
     There are good reasons to invest in [subject].
     The effort for [subject] pays off in several ways.
     """,
     """
     It becomes easier to {goal}.
     {who|cap} save time because they no longer have to search for information.
     Avoiding {risk} saves time and money.
     The improvement can be seen in {measure}.
     {Team} can concentrate on the tasks that matter most.
     Clear rules make cooperation easier for {who}.
     In addition, the work creates {item} that can be used again.
     Decisions can be made faster because the facts are at hand.
     Even small improvements add up over time.
     New colleagues find their way more quickly.
     """,
     """
     In the end, everyone benefits from a simple and reliable solution.
     These advantages clearly outweigh the effort.
     The benefits grow the longer the solution is in use.
     """)

kind("options",
     "Options; Alternatives; Possible solutions; Comparison of options; Selection; Choices; Options and assessment; Assessment",
     """
     For [subject], several options have been examined.
     There is more than one way to approach [subject].
     We compared the options for [subject] on the same criteria.
     The choice of the right solution for [subject] depends on a few points.
     """,
     """
     The first option is to keep the present solution and to improve it in small steps.
     A second option is to make a fresh start with {tool}.
     A third way would be to work with an outside partner.
     Important criteria are cost, effort and the benefit for {who}.
     Each option was judged by its effect on {measure}.
     The simplest option is quick to carry out but leaves some questions open.
     A larger solution takes more time, yet it helps us to {goal}.
     Options with a high risk of {risk} were set aside.
     {Role} discussed the results with {who}.
     """,
     """
     On balance, the option with the best ratio of effort and benefit is preferred.
     The final choice is made by {role}.
     A small test will show whether the preferred option works in practice.
     """)

kind("maintenance",
     "Maintenance; Care and maintenance; Maintenance and service; Upkeep; Service and repair; Regular maintenance; Storage and care; Servicing",
     """
     Regular maintenance keeps [subject] safe and ready for use.
     To keep [subject] in good condition, a few simple tasks are necessary.
     The upkeep of [subject] follows a fixed plan.
     Careful handling of [subject] extends the service life and avoids faults.
     """,
     """
     {Role} carries out the regular checks and notes the results.
     Worn or damaged parts are replaced before they fail.
     Use only parts and materials that have been approved.
     Clean all surfaces with a dry cloth and avoid strong cleaning agents.
     It is important to {act}.
     Settings are checked after every maintenance task.
     All work is recorded in {tool}.
     Repairs may be carried out only by trained people.
     Signs of {risk} should be reported at once.
     During maintenance, the area is marked clearly and kept free of other people.
     """,
     """
     After the work, a short test shows that everything functions correctly.
     A well-kept log makes later work much easier.
     With regular care, most problems can be avoided.
     """)

kind("findings",
     "Findings; Results; Main findings; What the data shows; Main results; Analysis; Observations; Key results",
     """
     The analysis of [subject] leads to several clear results.
     Our findings on [subject] show both strengths and open points.
     Looking at [subject] in detail, a clear picture emerges.
     The results for [subject] confirm some expectations and correct others.
     """,
     """
     The strongest effect can be seen in {measure}.
     {measure|cap} should be watched closely in the coming months.
     Differences between groups are larger than expected.
     In many cases, {risk} turned out to be the main cause.
     Where teams {act}, the results are clearly better.
     {who|cap} confirm these observations from their own experience.
     Not every difference is meaningful, because some samples are small.
     The results fit well with earlier observations.
     Some points need a closer look before conclusions are drawn.
     The data was checked by {role} before it was used.
     """,
     """
     On this basis, clear recommendations can be made.
     The findings should be reviewed when new data is available.
     Taken together, the results support a careful but active approach.
     """)

kind("principles",
     "Principles; Basic principles; Our principles; Guiding principles; General rules; Values; How we behave; Style and tone; Rules of conduct",
     """
     A few principles guide everything we do around [subject].
     In all matters that concern [subject], we act openly and fairly.
     Our principles for [subject] are short enough to be remembered.
     For [subject], the same rules apply to everyone.
     The way we deal with [subject] reflects our values.
     """,
     """
     We {act}.
     We treat {who} with respect and take their concerns seriously.
     Decisions are based on facts and explained to the people affected.
     Simple solutions are preferred to complicated ones.
     Mistakes may happen, but they must not be hidden.
     Agreements are kept, and changes are announced in time.
     We share knowledge instead of keeping it to ourselves.
     {Role} sets a good example in daily work.
     Safety and legal duties always come before speed.
     As a rule, we {act} and {act}.
     """,
     """
     These principles apply even when time is short.
     Anyone who sees a conflict with these principles should speak to {role}.
     Principles only count if they are lived every day.
     """)

kind("approach",
     "Approach; Our approach; Method; How we proceed; Concept; Solution; Methods; The solution; Proposed solution; Implementation",
     """
     Our approach to [subject] is practical and open.
     For [subject], we propose a solution in small and clear steps.
     The concept for [subject] builds on what already works well.
     We approach [subject] from the point of view of {who}.
     In the work on [subject], we combine proven methods with fresh ideas.
     """,
     """
     We begin by {ing}.
     Each step is tested with a small group of {who}.
     As a second step, we {act}.
     The work is supported by {tool}.
     {Role} brings the results together and checks them for gaps.
     Where possible, existing {item} are reused.
     Decisions are made on the basis of facts such as {measure}.
     Regular short meetings keep everyone on the same level of knowledge.
     The approach leaves room for corrections when conditions change.
     By {ing}, we reduce the risk of {risk}.
     """,
     """
     This approach keeps the effort low and the results visible.
     In this way, we can {goal} without unnecessary detours.
     Step by step, a solution takes shape that works in practice.
     """)

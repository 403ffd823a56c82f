"""Sentence frames by section kind, part one.

One frame per line.  (a|b) is a free choice, {slot} a phrase of the area's
vocabulary, [name] a fact that the prompt has to offer.
"""

KINDS = {}


def kind(name, heads, open_, mid, close):
    def lines(text):
        return [" ".join(line.split()) for line in text.strip().splitlines() if line.strip()]

    KINDS[name] = {
        "heads": [h.strip() for h in heads.split(";") if h.strip()],
        "open": lines(open_), "mid": lines(mid), "close": lines(close),
    }


kind("summary",
     "Summary; In brief; Overview; Executive summary; At a glance; Introduction; Conclusion; Summary and outlook; The main points; Short version",
     """
     This {doc} (sums up|brings together) the (main|most important) points (about|on) [subject].
     With this {doc}, we set out how we (want to|will) deal with [subject].
     The following points describe (our plans for|the way we handle|the work on) [subject].
     This {doc} explains what matters about [subject] for {who}.
     For [subject], this {doc} (gives|offers) a clear and practical framework.
     At the centre of this {doc} (stands|is) the question of how we make the most of [subject].
     In short, the work on [subject] helps us to {goal}.
     Everything that matters for [subject] is (collected|set out) here in a short form.
     """,
     """
     The aim is to {goal} and, over time, to {goal}.
     {Team} (leads|coordinates) the work and keeps {who} informed.
     We {act}, and we {act}.
     The most important step is to {act}.
     Progress is judged by {measure} and {measure}.
     We take {risk} seriously and plan for them early.
     The plan relies on {item} and on {tool}.
     Each step is small enough to be (checked|reviewed) before the next one begins.
     Responsibilities are clear, and {role} answers questions (about|on) the details.
     The (sections that follow|following sections) describe the steps, the people involved and the expected results.
     What counts in the end is whether {who} notice a real improvement.
     """,
     """
     Together, these points form a sound basis for the next decision.
     We ask all readers to share open questions with {role}.
     In this way, we can {goal} without losing sight of the daily work.
     The result should be simple to use and easy to explain.
     With a clear plan and steady work, this goal is within reach.
     """)

kind("background",
     "Background; Current situation; Starting point; Situation; Where we stand; Why this matters; Context; Initial situation; Reasons for the project; The problem",
     """
     The work on [subject] (starts from|builds on) a clear need among {who}.
     (Interest in|The need for) [subject] has grown (steadily|over the past months).
     Until now, there has been no common approach to [subject].
     Questions about [subject] come up (again and again|more and more often) in the daily work of {team}.
     Several (developments|reasons) have led us to look (more closely at|again at) [subject].
     At present, the tasks around [subject] are spread over several people.
     Our experience so far shows how much depends on a good plan for [subject].
     {Team} has collected first experience with [subject].
     """,
     """
     In the past, {risk} and {risk} have cost time and (trust|money).
     Many of the (existing|current) {item} have grown over time and no longer fit together.
     Conversations with {who} show that they expect clear and reliable answers.
     {Team} already has useful experience to build on.
     What is missing so far is {tool} that everybody uses.
     Some tasks are done twice, while others are left open.
     The figures for {measure} point in the same direction.
     This makes it harder than necessary to {goal}.
     At the same time, the expectations of {who} continue to rise.
     There are good starting points, above all the readiness of {who} to take part.
     Small improvements have been made, but they do not reach the cause of the problem.
     """,
     """
     It is therefore time to act in a planned way.
     For these reasons, a common approach makes sense for all sides.
     This is the starting point for the steps described below.
     A clear decision now will save effort later.
     """)

kind("goals",
     "Goals; Objectives; What we want to achieve; Aims; Our goals; Aims and priorities; Goals and benefits; Purpose; Targets; What success looks like; Purpose and aims",
     """
     With [subject], we want to {goal}.
     The main goal of the work on [subject] is to {goal}.
     Our aims for [subject] are (simple|clear) and can be checked.
     A few aims guide everything we do around [subject].
     For [subject], we have set a small number of clear goals.
     Everything we plan for [subject] serves one purpose, namely to {goal}.
     By investing in [subject], we intend to {goal}.
     The purpose of this {doc} is to give [subject] a clear direction.
     """,
     """
     (First|Above all), we want to {goal}.
     A second aim is to {goal}.
     In addition, the work should help {who} to see a clear benefit.
     We also want to {goal} so that the effort pays off for {who}.
     Each goal is linked to a figure, such as {measure}.
     Progress is measured by {measure} and by {measure}.
     Goals that nobody can check are left out on purpose.
     To get there, we {act}.
     Short-term results matter, but lasting improvements matter more.
     {Role} reviews the goals regularly and adjusts them where needed.
     If two goals conflict, the one that serves {who} comes first.
     """,
     """
     We will know that we have succeeded when {who} confirm the improvement.
     These goals are ambitious, yet they can be reached with steady work.
     All later steps will be measured against these aims.
     In the long run, this should help us to {goal}.
     """)

kind("audience",
     "Target group; Who this is for; Audience; Stakeholders; The people we address; Users and their needs; Who is affected; People involved; Our customers; For whom we work",
     """
     (The plans for|The information on) [subject] (are meant|is meant) above all for {who}.
     Everything around [subject] is planned from the point of view of {who}.
     The first people to benefit from [subject] are {who}.
     With [subject], we (address|turn to) two groups, namely {who} and {who}.
     To make [subject] a success, we need to know the people we work for.
     Different groups look at [subject] with different questions.
     """,
     """
     They expect short answers, a fair offer and a reliable contact.
     Many of them have little time, so the benefit must be clear at first sight.
     We speak to {who} directly and ask what they need.
     {who|cap} often have different questions, so we prepare separate {item} for them.
     What they have in common is the wish for simple and dependable solutions.
     We avoid technical terms wherever plain words will do.
     Feedback from {who} flows back into the plan.
     To understand their needs better, we look at {measure}.
     Those who already know us receive the information first.
     {Role} keeps in touch with the most important contacts.
     It pays to listen carefully before any decision is made.
     """,
     """
     In this way, each group receives what it really needs.
     The better we know these groups, the easier it is to {goal}.
     Their feedback decides whether the work continues in this form.
     """)

kind("scope",
     "Scope; What is included; Content; Scope and limits; Area of application; Where this applies; Coverage; What this covers; Field of application; Contents",
     """
     This {doc} covers all (tasks|activities|questions) (around|connected with) [subject].
     The scope includes the planning, the introduction and the review of [subject].
     This section describes what is part of [subject] and what is not.
     The following tasks are part of the work on [subject].
     For [subject], we have drawn a clear line between what is included and what is not.
     The rules for [subject] apply to {team} and to everyone who works with them.
     """,
     """
     Included are {item} as well as the related coordination with {who}.
     Work outside this scope needs a separate agreement with {role}.
     Existing {item} remain valid until they are replaced.
     Topics that belong to other departments are only mentioned where they are needed.
     The scope also includes {tool}, which all teams can use.
     We start with a small part and extend it once it works well.
     Exceptions are possible if {role} agrees in writing.
     Not included are tasks that other teams already cover.
     In case of doubt, {role} decides what belongs to the scope.
     Any extension is discussed in advance so that time and costs stay under control.
     """,
     """
     These limits keep the work manageable.
     A clear scope helps everyone to concentrate on the essential points.
     Changes to the scope are recorded and shared with all parties.
     """)

kind("responsibilities",
     "Roles and responsibilities; Responsibilities; Who does what; Organisation; Team and roles; Duties; Project organisation; Contacts and duties; Division of tasks; People in charge",
     """
     For [subject], the responsibilities are divided clearly between the people involved.
     {Role} is responsible for (everything around|the overall result of) [subject].
     The work on [subject] is led by {role}.
     Clear roles are essential for the success of [subject].
     Several people share the work on [subject], and each of them has a clear task.
     Everyone who works on [subject] should know who decides and who carries out the tasks.
     {Team} takes the lead in all matters that concern [subject].
     """,
     """
     {Role} plans the steps and reports on progress.
     {Role} makes sure that {item} are complete and up to date.
     {Role} keeps in contact with {who}.
     {Team} carries out the daily tasks and raises problems early.
     Decisions about money and priorities are made by {role}.
     {Role} checks the results before they are passed on.
     For each task, there is one responsible person and one deputy.
     When someone is absent, the deputy takes over with the same rights.
     Other departments support the work with their knowledge and, if needed, with staff.
     Managers give their teams enough time for these duties.
     Open questions go to {role}, who answers them or finds the right contact.
     """,
     """
     This division of tasks avoids gaps and duplicate work.
     Changes in these roles are announced to everyone in writing.
     With clear roles, decisions can be made quickly and close to the work.
     """)

kind("process",
     "Process; How we work; Steps; Procedure; Work steps; Process steps; Step by step; Sequence of steps; The process in detail; Workflow; How it works",
     """
     The process for [subject] (follows|consists of) a small number of clear steps.
     Work on [subject] always follows the same order.
     To handle [subject] reliably, we keep to a fixed sequence of steps.
     The steps for [subject] are simple and can be followed without special knowledge.
     Every case that concerns [subject] begins with a short check of the facts.
     For [subject], we work step by step and check each result.
     The procedure for [subject] starts with a clear request.
     """,
     """
     First, {role} collects the necessary information and checks that it is complete.
     After that, we {act}.
     In the next step, {team} prepares the {item}.
     Then {role} reviews the result and approves it.
     As soon as this is done, {who} are informed.
     It is important to {act}.
     If something is missing, the case goes back with a short note.
     Each step is recorded in {tool}.
     Urgent cases may be handled first, but no step is left out.
     Before the work continues, {role} confirms that the previous step is complete.
     Where possible, we begin by {ing}.
     Problems such as {risk} are reported to {role} without delay.
     """,
     """
     At the end, the result is recorded and the case is closed.
     The process is complete once {role} has confirmed the result.
     Suggestions for improvement are welcome and are reviewed regularly.
     """)

kind("timeline",
     "Timeline; Schedule; Milestones; Time frame; Dates and milestones; Project phases; When things happen; Phases and dates; Planned schedule; Roadmap",
     """
     The work on [subject] is divided into clear phases.
     For [subject], we plan a short preparation, a test phase and a full start.
     The schedule for [subject] leaves room for preparation and for corrections.
     A realistic schedule is important for [subject].
     The first phase of the work on [subject] is reserved for planning.
     We introduce [subject] in several steps instead of all at once.
     """,
     """
     During the preparation, we {act}.
     In the test phase, a small group of {who} tries out the results.
     After a successful test, the work is extended step by step.
     At the end of each phase, {role} decides whether the next one can begin.
     Milestones are set where a decision or a finished result is due.
     The most time is needed for the {item}.
     {Role} watches the dates and reports delays at once.
     Some tasks can run in parallel, while others depend on earlier results.
     A small reserve of time protects the plan against {risk}.
     Holidays and busy periods have been taken into account.
     Dates that depend on others are confirmed in writing.
     """,
     """
     The schedule is reviewed regularly and updated when needed.
     With this plan, every team knows when its contribution is due.
     If a date cannot be kept, we say so early and agree on a new one.
     """)

kind("budget",
     "Budget; Costs; Budget and costs; Financial plan; Costs and funding; Expected costs; Budget overview; Spending; What it costs; Cost planning",
     """
     The budget for [subject] covers the work of {team} and the necessary materials.
     For [subject], we plan the spending carefully and keep a small reserve.
     The costs of [subject] consist of working time, materials and outside services.
     Spending on [subject] follows a simple rule, which is that every cost needs a clear benefit.
     Before work on [subject] begins, the costs are estimated and approved.
     A sound financial basis is necessary for [subject].
     """,
     """
     The largest part goes into the {item}.
     {Role} checks all spending against the plan.
     Larger amounts need approval in advance.
     A reserve is kept for unexpected costs such as those caused by {risk}.
     Costs are recorded from the first day so that the figures stay comparable.
     Existing resources are used before anything new is bought.
     We compare several offers before an order is placed.
     The benefit is measured by {measure}.
     Savings in one area may be used in another if {role} agrees.
     Running costs are listed separately from one-time costs.
     If the costs rise above the plan, {role} informs management at once.
     """,
     """
     In this way, the costs remain clear and under control.
     A final overview shows planned and actual costs side by side.
     The budget is reviewed at fixed dates and adjusted where there is good reason.
     """)

kind("risks",
     "Risks; Risks and measures; What could go wrong; Risk overview; Risks and countermeasures; Opportunities and risks; Possible problems; Risk management; Challenges; How we deal with risks",
     """
     As with any plan, [subject] (brings|involves) certain risks.
     We have looked closely at the risks connected with [subject].
     The main risks for [subject] are {risk} and {risk}.
     Risks around [subject] can be limited if they are seen early.
     For [subject], we name the possible problems openly and prepare for them.
     Success with [subject] depends on how well we deal with (difficulties|uncertainty).
     """,
     """
     One risk is that {risk} slow down the work.
     {risk|cap} would affect {who} most of all.
     To prevent this, we {act}.
     To reduce this risk, we {act}.
     {Role} keeps a list of all risks and reviews it regularly.
     Each risk has an owner who watches it and suggests measures.
     Early warning signs include changes in {measure}.
     Some risks can be accepted because their effect would be small.
     If a problem occurs, {role} decides on the next step within a short time.
     Most of these risks can be reduced by {ing}.
     In serious cases, work is paused until a solution has been found.
     """,
     """
     With these measures, the remaining risk is acceptable.
     The overview of risks is updated whenever the situation changes.
     An open approach to problems is the best protection against surprises.
     """)

kind("measures",
     "Measuring success; Key figures; How we measure progress; Indicators; Success criteria; Performance measures; Results and figures; Control and key figures; Monitoring; Targets and figures",
     """
     We measure the success of [subject] by a few clear figures.
     To judge the progress of [subject], we look at {measure} and {measure}.
     Whether the plans for [subject] achieve their aims is checked regularly.
     For [subject], we have chosen figures that are easy to collect and to understand.
     Progress on [subject] becomes visible through regular measurement.
     Good figures show early whether the work on [subject] is on the right path.
     """,
     """
     The most important figure is {measure}.
     In addition, we look at {measure}.
     {Role} collects the figures and explains the changes.
     The figures are compared with the situation before the start.
     Results are shared with {who} in a short report.
     Single values mean little, so we watch the development over time.
     If a figure moves in the wrong direction, we look for the cause first.
     Besides figures, the opinions of {who} count as well.
     We use {tool} so that everyone sees the same data.
     Figures that lead to no decision are no longer collected.
     A clear target is set for each figure before the work begins.
     """,
     """
     On this basis, we decide what to continue and what to change.
     The results are discussed openly, including those that disappoint.
     In this way, success is measured by results and not by effort alone.
     """)

kind("messages",
     "Key messages; What we say; Core message; Main messages; Our message; Main points; Communication; Internal communication; Information and communication",
     """
     The core message about [subject] is short and easy to remember.
     When we talk about [subject], the benefit for {who} comes first.
     Clear communication is an important part of the work on [subject].
     Information about [subject] should reach {who} early and in plain words.
     We talk about [subject] in an open and friendly way.
     The story of [subject] begins with a problem that {who} know well.
     """,
     """
     We explain what changes, why it changes and who can help.
     Examples from daily work make the message easy to grasp.
     {Role} approves all texts before they are published.
     Each message leads to one clear next step.
     We use the same words in all {item}.
     Promises are made only where we can keep them.
     Questions from {who} are answered quickly and honestly.
     Important news is first shared inside the company and then outside.
     Short texts work better than long explanations.
     Critical questions are welcome because they show where the message is not yet clear.
     """,
     """
     In this way, the message stays clear from the first contact to the last.
     What we say and what we do should always match.
     Feedback on the message helps us to improve it.
     """)

kind("channels",
     "Channels; Channels and formats; Where we reach people; Distribution; Means of communication; Contact points; Media and channels; How we reach our audience",
     """
     For [subject], we choose the channels that {who} already use.
     Information about [subject] is spread through a small number of channels.
     To reach {who} with [subject], we combine personal contact and digital channels.
     Not every channel is suitable for [subject].
     The channels for [subject] have been chosen with care.
     """,
     """
     Our own website is the central place for all details.
     Mailings and posts lead interested people to the right page.
     Personal talks remain important wherever trust has to be built.
     We prepare {item} that fit each channel.
     {Role} plans which content appears where and when.
     Events give us the chance to hear the questions of {who} directly.
     We compare the channels by {measure}.
     Channels that bring little response are dropped after a fair test.
     The tone is the same everywhere, while the length differs.
     Partners help us to reach people who do not know us yet.
     """,
     """
     Together, these channels form a clear path from first interest to contact.
     The mix of channels is reviewed after each phase.
     It is better to use a few channels well than many channels badly.
     """)

"""Sentence frames by section kind, part three."""

from kinds_a import KINDS, kind  # noqa: F401

kind("offer",
     "Our offer; Products and services; What we provide; The offer in detail; Services; Our services; Description of services; Solution and services",
     """
     Our offer for [subject] includes advice, delivery and support.
     With [subject], we offer {who} a clear and complete solution.
     The services around [subject] are tailored to the needs of {who}.
     What we offer for [subject] is easy to understand and fair in price.
     """,
     """
     The offer begins with a short talk about the needs of the customer.
     {Role} is the contact for all questions.
     The service includes {item} and a personal introduction.
     Each part can be ordered separately or as a package.
     We agree on the details before the work begins.
     Changes are possible at any time if both sides agree.
     We {act} so that there are no surprises.
     Customers value the fact that we keep our promises.
     Support after delivery is part of the service.
     """,
     """
     In this way, customers receive everything from one source.
     We would be pleased to explain the details in a personal talk.
     A clear offer is the best start to a good partnership.
     """)

kind("tasks",
     "Your tasks; Tasks; Main duties; Tasks in this position; Responsibilities of the role; What you will do; Key tasks",
     """
     In this role, you are responsible for the work on [subject].
     Your main task is to move [subject] forward together with {team}.
     The position centres on [subject] and offers varied tasks.
     You look after [subject] from the first idea to the finished result.
     """,
     """
     You {act} and {act}.
     You prepare {item} and present them to {who}.
     You work closely with {role} and with other departments.
     You keep an eye on {measure} and suggest improvements.
     You recognise {risk} early and take action.
     You are a reliable contact for {who}.
     You organise your work on your own and report regularly to {role}.
     You use {tool} to keep track of your tasks.
     """,
     """
     With your work, you help us to {goal}.
     The tasks can grow with your experience.
     You will have enough freedom to bring in your own ideas.
     """)

kind("profile",
     "Your profile; Requirements for the position; What you bring; Qualifications; Skills and experience; Who we are looking for",
     """
     For the work on [subject], we are looking for a reliable and curious person.
     You have experience with [subject] or with similar tasks.
     An interest in [subject] is more important to us than a perfect career.
     You bring practical knowledge that helps us with [subject].
     """,
     """
     You have completed suitable training or comparable practice.
     You express yourself clearly in speech and writing.
     You work carefully and keep calm when things get busy.
     You like working with {who}.
     Experience with {tool} is an advantage.
     You are ready to learn and to share your knowledge.
     You know how to {act}.
     You can explain difficult matters in plain words.
     """,
     """
     If you do not meet every point, we still look forward to your application.
     What counts for us is the person and not only the certificate.
     Please tell us in a few lines why this position suits you.
     """)

kind("onboarding",
     "First week; First months; Welcome; Induction; Your start with us; The first days; Induction plan; Preparation before the first day",
     """
     The first days are meant to make the start with [subject] easy.
     Newcomers get to know [subject] step by step.
     A good start with [subject] begins before the first working day.
     During the first weeks, [subject] will be explained in small units.
     """,
     """
     On the first day, {role} welcomes the new colleague and shows the workplace.
     A mentor answers questions and explains unwritten rules.
     All accounts and documents are prepared in advance.
     In the first week, the new colleague meets {team} and the main contacts.
     Short talks at the end of each week show what is going well.
     The first tasks are small and lead to quick results.
     Step by step, the new colleague takes on more responsibility.
     Important {item} are handed over and explained.
     Newcomers are encouraged to ask questions and to suggest improvements.
     """,
     """
     At the end of this period, both sides talk openly about their experience.
     A friendly start creates trust and saves time later.
     After these weeks, the new colleague should feel at home in the team.
     """)

kind("confidentiality",
     "Confidentiality; Confidential information; Secrecy; Protection of information; Handling of information",
     """
     All information about [subject] that is not public is treated as confidential.
     Confidential information connected with [subject] may be used only for the agreed purpose.
     Everyone who works on [subject] is bound to confidentiality.
     Trust is essential for [subject], so information is shared with care.
     """,
     """
     Confidential papers are stored safely and shared only with people who need them.
     Passing on information to others requires written consent.
     This duty continues after the work has ended.
     Information that is already public is not affected.
     Employees and partners are informed of this duty in writing.
     If information is disclosed by mistake, the other side is told at once.
     Copies are returned or destroyed when they are no longer needed.
     {Role} decides in case of doubt whether information may be passed on.
     """,
     """
     In this way, the interests of all sides are protected.
     Breaches are taken seriously and may have legal consequences.
     """)

kind("safety",
     "Safety; Safety instructions; Safety rules; Important safety information; Safe handling; Protection of people; Warnings",
     """
     Please read these instructions before you work with [subject].
     Safety comes first in all work on [subject].
     To work safely with [subject], a few rules must be followed.
     Only trained people may work on [subject].
     """,
     """
     Wear suitable protective equipment and keep the area tidy.
     Before you begin, make sure that you {act}.
     Never work alone if there is a risk of injury.
     Damaged parts must not be used.
     Keep other people away from the work area.
     Warning signs must be visible at all times.
     If something unusual happens, stop the work and inform {role}.
     Pay attention to {risk}, since they can lead to accidents.
     Emergency exits and switches must always be free.
     Never bypass a safety device.
     """,
     """
     If you are in doubt, stop and ask {role}.
     A few careful minutes can prevent serious harm.
     Every accident and every near miss must be reported.
     """)

kind("installation",
     "Installation; Set-up; Assembly; First start-up; Getting started; Installation and set-up; Putting into operation; Deployment",
     """
     The installation of [subject] should be prepared carefully.
     Before you install [subject], check that all parts are complete.
     Choose a suitable place for [subject] before the work begins.
     """,
     """
     Unpack all parts and check them for damage.
     Follow the steps in the given order and do not skip any of them.
     Make sure that you {act}.
     Tighten all connections by hand first and check them again at the end.
     Keep the {item} at hand during the work.
     Settings should be changed one at a time.
     If a part does not fit, do not use force.
     Note the settings in {tool}.
     {Role} checks the installation before the first use.
     Allow enough time so that the work can be finished without a break.
     """,
     """
     Finally, carry out a short test and note the result.
     After a successful test, the system is ready for use.
     Keep these instructions in a safe place for later use.
     """)

kind("operation",
     "Operation; Daily use; Use; Operating instructions; Everyday operation; Handling; Working with the system; Daily work",
     """
     Daily work with [subject] is simple if a few points are observed.
     In everyday operation, [subject] should be handled with care.
     The following notes help you to use [subject] correctly.
     """,
     """
     Check the condition before each use.
     In daily work, we {act}.
     Start slowly and watch the first results.
     Do not change basic settings without asking {role}.
     Unusual noises or messages should be reported at once.
     Use {tool} to record important events.
     Keep the workplace tidy so that nothing is overlooked.
     Avoid {risk} by working calmly and in the right order.
     After use, switch off the unit and leave the place clean.
     Handovers to the next person are made in writing.
     """,
     """
     With a little practice, these steps become routine.
     If a problem remains, please contact {role}.
     Careful use saves time and repairs.
     """)

kind("troubleshooting",
     "Troubleshooting; Faults and solutions; Finding faults; Problems and solutions; What to do in case of faults; First aid for problems",
     """
     Most problems with [subject] have a simple cause.
     If [subject] should fail, stay calm and go through the following checks.
     Faults in connection with [subject] can often be found quickly.
     Before you call for help with [subject], please check a few points.
     """,
     """
     First, check the power supply and all connections.
     Look for {risk}, since they are a frequent cause.
     Restart the system and note any message that appears.
     Change only one thing at a time so that the cause becomes clear.
     Compare the settings with those in the {item}.
     If the fault returns, inform {role}.
     Describe what you did before the fault occurred.
     Do not open the housing unless you are trained to do so.
     Record the fault and the solution in {tool}.
     """,
     """
     Once the fault is cleared, carry out a short test.
     If none of these steps helps, contact {role}.
     A good description of the fault makes the repair much faster.
     """)

kind("recommendations",
     "Recommendations; Our recommendation; Proposal; Decision; Suggested measures; Conclusions; Recommended actions; Decision needed",
     """
     For [subject], we recommend a clear and practical course.
     On the basis of these points, we recommend moving forward with [subject].
     Our recommendation for [subject] is to start small and to learn quickly.
     We propose the following decision on [subject].
     """,
     """
     The most useful first step is to {act}.
     We also recommend that {team} and {role} work together closely.
     Priority should be given to measures that help us to {goal}.
     {Role} should receive the necessary time and authority.
     It would be a mistake to wait until {risk} become a serious problem.
     The effect should be checked by {measure}.
     Measures with little effect should be dropped.
     {who|cap} should be involved from the beginning.
     The costs are moderate in relation to the expected benefit.
     """,
     """
     We ask for a decision so that the work can begin.
     With this decision, we can {goal} and limit the risk.
     If the first results are good, further steps can follow.
     """)

kind("generic",
     "More about this topic; Details; Our view; Additional information; Notes; Remarks; General information; Important points; Topic in focus; What you should know; Why now; Our story; Ideas; Questions and answers; Good to know; Cooperation; Looking ahead",
     """
     There is much to say about [subject], but a few points matter most.
     The following notes on [subject] should help {who} in their daily work.
     For [subject], good preparation is half of the work.
     When it comes to [subject], we rely on experience and clear agreements.
     Work on [subject] brings together {team} and {who}.
     """,
     """
     We {act}, because this helps us to {goal}.
     {Role} answers questions and keeps an overview.
     Good cooperation between {team} and {who} makes the difference.
     It is worth taking the time to {act}.
     Simple rules and short paths help everyone to concentrate on the task.
     In our experience, {risk} can be avoided by {ing}.
     {item|cap} give a good overview of the details.
     Ideas and suggestions are welcome at any time.
     What matters is a result that works in daily practice.
     We look at {measure} to see whether we are on the right path.
     Small steps taken in the right order lead to lasting results.
     """,
     """
     We look forward to the next steps and to the feedback of {who}.
     In this way, good ideas turn into lasting results.
     Further details can be discussed with {role} at any time.
     With patience and clear goals, we will make good progress.
     """)
# The fixed subject must read well for singular and plural values alike.
KINDS["generic"]["open"][0] = "A clear and practical approach is needed for [subject]."
